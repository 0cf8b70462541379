packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}

variable "nodepkg_build" {
  type    = string
  default = ""
}

variable "nodepkg_commit" {
  type    = string
  default = ""
}

variable "nodepkg_digest" {
  type    = string
  default = ""
}

variable "nodepkg_key_pair" {
  type    = string
  default = ""
}

source "amazon-ebs" "image" {
  region                                = "us-east-1"
  ami_name                              = "ftp-listener {{timestamp}}"
  temporary_key_pair_name               = var.nodepkg_key_pair
  instance_type                         = "m1.large"
  ssh_username                          = "ubuntu"
  temporary_security_group_source_cidrs = ["192.0.2.0/24"]

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  source_ami_filter {
    filters = {
      "tag:group" = "12_04-base"
      state       = "available"
    }
    owners      = ["self"]
    most_recent = true
  }

  tags = {
    group                = "ftp-listener"
    "nodepkg:managed"    = "true"
    "nodepkg:source_ami" = "{{ .SourceAMI }}"
    "nodepkg:commit"     = var.nodepkg_commit
    "nodepkg:digest"     = var.nodepkg_digest
  }

  snapshot_tags = {
    group                    = "ftp-listener"
    "nodepkg:managed"        = "true"
    "nodepkg:source_ami"     = "{{ .SourceAMI }}"
    "nodepkg:commit"         = var.nodepkg_commit
    "nodepkg:digest"         = var.nodepkg_digest
    "nodepkg:image-snapshot" = "true"
  }

  run_tags = {
    "nodepkg:managed" = "true"
    "nodepkg:build"   = var.nodepkg_build
  }
}

build {
  name    = "ftp-listener"
  sources = ["source.amazon-ebs.image"]

  provisioner "shell" {
    execute_command = "if [ \"$(id -u)\" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }}; else env {{ .Vars }} sh -e {{ .Path }}; fi"
    inline = [
      "rm -rf /opt/nodepkg/cookbooks /opt/nodepkg/data_bags /opt/nodepkg/roles /opt/nodepkg/solo.rb /opt/nodepkg/dna.json /opt/nodepkg/services.json",
      "mkdir -p /opt/nodepkg/cookbooks /opt/nodepkg/data_bags /opt/nodepkg/roles",
      "chown -R \"$${SUDO_UID:-$(id -u)}\" /opt/nodepkg",
    ]
  }

  provisioner "file" {
    source      = "${path.root}/../cookbooks/"
    destination = "/opt/nodepkg/cookbooks"
  }

  provisioner "file" {
    source      = "${path.root}/../data_bags/"
    destination = "/opt/nodepkg/data_bags"
  }

  provisioner "file" {
    source      = "${path.root}/../roles/ftp-listener.json"
    destination = "/opt/nodepkg/roles/role-ftp-listener.json"
  }

  provisioner "shell" {
    inline = [
      "printf '%s\\n' '# How chef-solo finds this bundle: everything beside this file.\nroot = File.expand_path(File.dirname(__FILE__))\n\nchef_repo_path root\ncookbook_path File.join(root, \"cookbooks\")\ndata_bag_path File.join(root, \"data_bags\")\nrole_path File.join(root, \"roles\")\nfile_cache_path \"/var/chef/cache\"\nfile_backup_path \"/var/chef/backup\"' > /opt/nodepkg/solo.rb",
      "printf '%s\\n' '{\n    \"id\": \"ftp-listener\",\n    \"run_list\": [\n        \"role[role-ftp-listener]\"\n    ]\n}' > /opt/nodepkg/dna.json",
    ]
  }

  provisioner "shell" {
    execute_command = "if [ \"$(id -u)\" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }}; else env {{ .Vars }} sh -e {{ .Path }}; fi"
    inline          = ["command -v chef-solo >/dev/null || { curl -fsSL https://omnitruck.chef.io/install.sh -o /tmp/install-chef.sh && sh /tmp/install-chef.sh -v 18 && rm /tmp/install-chef.sh; }"]
  }

  provisioner "shell" {
    execute_command = "if [ \"$(id -u)\" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }}; else env {{ .Vars }} sh -e {{ .Path }}; fi"
    inline          = ["chef-solo --chef-license accept-silent -c /opt/nodepkg/solo.rb -j /opt/nodepkg/dna.json"]
  }
}
