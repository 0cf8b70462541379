# The agent of nodepkg. All of it is decided when the node converges: an earlier recipe may install Python.
provides :nodepkg_agent
resource_name :nodepkg_agent
unified_mode true

default_action :install

action :install do
  root = NodepkgServices.root(node)
  python, version = NodepkgServices.python(node)

  directory root do
    recursive true
    mode '0755'
  end

  remote_directory "#{root}/wheels" do
    source 'wheels'
    purge true
    mode '0755'
    files_mode '0644'
  end

  # In why-run mode they may not be there yet.
  wheels = Dir.glob("#{root}/wheels/*.whl")
  own = wheels.find { |file| ::File.basename(file).start_with?('nodepkg-') }
  next Chef::Log.warn('nodepkg-services: the wheels are not there yet') unless own

  environment = "#{root}/#{NodepkgServices.environment_id(python, version, wheels)}"
  complete = "#{environment}/complete"
  before = ::File.symlink?("#{root}/bin") ? ::File.dirname(::File.readlink("#{root}/bin")) : nil
  missing = !::File.exist?(complete)

  # Each set of wheels gets an environment of its own: the agent that runs keeps its files until it is restarted, and
  # an installation that fails leaves everything as it was.
  execute 'make the environment of the agent' do
    command [python, '-I', '-m', 'venv', '--clear', environment]
    not_if { ::File.exist?(complete) }
  end

  execute 'install the agent' do
    from = wheels.size > 1 ? ['--no-index', '--find-links', "#{root}/wheels"] : []
    command ["#{environment}/bin/python", '-I', '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input',
             *from, "#{own}[agent]"]
    not_if { ::File.exist?(complete) }
  end

  file complete do
    content ''
    mode '0644'
  end

  link "#{root}/bin" do
    to "#{environment}/bin"
  end

  if missing
    old = Dir.children(root).grep(/\A[0-9a-f]{16}\z/).map { |name| "#{root}/#{name}" } - [environment, before]
    old.each do |folder|
      directory folder do
        recursive true
        action :delete
      end
    end
  end
end

action :enable do
  unit = "/etc/systemd/system/#{NodepkgServices::UNIT}"
  unless ::File.directory?('/etc/systemd/system') && which('systemctl')
    next Chef::Log.warn('nodepkg-services: there is no systemd here, so nothing starts the agent: ' \
                        "#{NodepkgServices.package(node)} service:agent --services #{NodepkgServices.services_json(node)}")
  end

  written = file unit do
    content NodepkgServices.unit(node)
    owner 'root'
    group 'root'
    mode '0644'
  end

  execute 'systemctl daemon-reload' do
    command %w(systemctl daemon-reload)
    only_if { written.updated_by_last_action? && NodepkgServices.systemd_running? }
  end

  execute 'enable the agent' do
    command ['systemctl', 'enable', NodepkgServices::UNIT]
    not_if { ::File.symlink?("/etc/systemd/system/multi-user.target.wants/#{NodepkgServices::UNIT}") }
  end

  if NodepkgServices.starts?(node)
    due = (:restart unless NodepkgServices.active? && noted('started') == agent_now)
    due ||= (:reload unless noted('told') == services_now)
    # At the end of the run: what the agent announces shall be there by then.
    notify_group "the agent: #{due}" do
      notifies due, "nodepkg_agent[#{new_resource.name}]", :delayed
      action :run
    end if due
    node.run_state['nodepkg-agent'] = due
  elsif !NodepkgServices.active?
    # Whatever starts it later, such as the boot of a node of this image, starts this one.
    note('started', agent_now)
    note('told', services_now)
  end
end

action :restart do
  # Not waited for: the agent that this converge is a child of says good-bye first, and may wait for the converge.
  execute 'restart the agent' do
    command ['systemctl', '--no-block', 'restart', NodepkgServices::UNIT]
  end
  note('started', agent_now)
  note('told', services_now)
end

action :reload do
  execute 'reload the agent' do
    command ['systemctl', 'reload', NodepkgServices::UNIT]
  end
  note('told', services_now)
end

# At the end of the run, if it comes so far; it changes nothing on the node, so nothing counts as updated.
action :notify do
  run_context.add_delayed_action(Chef::Resource::Notification.new(new_resource, :announce, new_resource))
end

action :announce do
  next if Chef::Config[:why_run] || NodepkgServices.image_build? || node.run_state['nodepkg-agent']

  begin
    NodepkgServices.announce(node)
  rescue NodepkgServices::Error => e
    # The agent tries again by itself, and a registry that is away must not fail converges.
    Chef::Log.warn("nodepkg-services: not announced: #{e.message}")
  end
end

action_class do
  # What the agent runs from when it is started now, and what it is told: noted down when that is done, so that a
  # converge that was ended in between is made up for by the next one.
  def agent_now
    environment = ::File.symlink?(bin) ? ::File.readlink(bin) : ''
    "#{environment} #{Digest::SHA256.hexdigest(NodepkgServices.unit(node))}"
  end

  def services_now
    file = NodepkgServices.services_json(node)
    ::File.file?(file) ? Digest::SHA256.file(file).hexdigest : 'none'
  end

  def bin
    "#{NodepkgServices.root(node)}/bin"
  end

  def noted(name)
    ::File.read("#{NodepkgServices.root(node)}/#{name}").chomp
  rescue Errno::ENOENT
    nil
  end

  def note(name, text)
    file "#{NodepkgServices.root(node)}/#{name}" do
      content "#{text}\n"
      mode '0644'
    end
  end
end
