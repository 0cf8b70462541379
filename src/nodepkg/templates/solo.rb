# How chef-solo finds this bundle: everything beside this file.
root = File.expand_path(File.dirname(__FILE__))

chef_repo_path root
cookbook_path File.join(root, "cookbooks")
data_bag_path File.join(root, "data_bags")
role_path File.join(root, "roles")
file_cache_path "/var/chef/cache"
file_backup_path "/var/chef/backup"
