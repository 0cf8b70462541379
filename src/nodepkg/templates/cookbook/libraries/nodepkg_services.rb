# What the recipes and the resource of this cookbook know about the node. Nothing here goes through a shell.
require 'digest'
require 'json'
require 'mixlib/shellout'

module NodepkgServices
  UNIT = 'nodepkg-agent.service'.freeze
  MAPS = %w(services available).freeze
  PYTHONS = %w(python3.13 python3.12 python3.11 python3).freeze
  DEFAULT_FILE = '/opt/nodepkg/services.json'.freeze
  SAFE_WORD = %r{\A[A-Za-z0-9_./:,=+@-]+\z}.freeze
  PROBE = 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2], sys.executable)'.freeze

  class Error < StandardError; end

  module_function

  def settings(node)
    node['nodepkg-services']
  end

  # An absolute path that means nothing else to systemd, or wherever it goes.
  def path(text, meaning)
    return text if text.is_a?(String) && text.start_with?('/') && text.match?(SAFE_WORD)

    raise Error, "nodepkg-services: #{text.inspect} is no #{meaning}: an absolute path of letters, digits and " \
                 '_ . / : , = + @ - is wanted'
  end

  def root(node)
    path(settings(node)['root'], "node['nodepkg-services']['root']").chomp('/')
  end

  def package(node)
    "#{root(node)}/bin/package"
  end

  # The bundle lies beside its solo.rb, which says chef_repo_path; a solo.rb of one's own may not.
  def services_json(node)
    given = settings(node)['services_json']
    return path(given, "node['nodepkg-services']['services_json']") if given

    beside = Array(Chef::Config[:chef_repo_path]).map { |folder| ::File.join(folder, 'services.json') }
    path(beside.find { |file| ::File.file?(file) } || DEFAULT_FILE, 'path of services.json')
  end

  # A key of services.json; nil if that is not there, or is not what nodepkg writes.
  def told(node, key)
    document = JSON.parse(::File.read(services_json(node)))
    document.is_a?(Hash) ? document[key] : nil
  rescue SystemCallError, JSON::ParserError
    nil
  end

  # Packer sets it for what its shell provisioners run; the machine that an image is made on is no node.
  def image_build?
    ENV.key?('PACKER_BUILD_NAME')
  end

  # sd_booted(3): systemctl may be there where systemd does not run, in containers and chroots.
  def systemd_running?
    ::File.directory?('/run/systemd/system')
  end

  def starts?(node)
    wanted = settings(node)['start']
    systemd_running? && (wanted.nil? ? !image_build? : wanted)
  end

  def active?
    systemd_running? && run(['systemctl', 'is-active', '--quiet', UNIT], 60).exitstatus == 0
  end

  def run(command, timeout)
    shell = Mixlib::ShellOut.new(command, timeout: timeout, environment: { 'PYTHONPATH' => nil, 'PYTHONHOME' => nil })
    shell.run_command
    shell
  rescue SystemCallError, Mixlib::ShellOut::CommandTimeout => e
    raise Error, "#{command.join(' ')}: #{e.message.lines.first.to_s.strip}"
  end

  # [its path, "3.12"]; raises Error that tells what was looked at.
  def python(node)
    given = settings(node)['python']
    seen = (given ? [given] : PYTHONS).map do |name|
      version, executable, why = probe(name)
      return [executable, version] unless why

      why
    end
    raise Error, "nodepkg-services: the agent needs Python 3.11 or newer with venv, and there is none (#{seen.join('; ')}). " \
                 "Install one into the base image, or name it in node['nodepkg-services']['python']"
  end

  def probe(name)
    shell = run([name, '-I', '-c', PROBE], 60)
    unless shell.exitstatus == 0
      return [nil, nil, "#{name}: #{shell.stderr.lines.last.to_s.strip} (Debian and Ubuntu: #{name}-venv)"]
    end

    version, executable = shell.stdout.split(' ', 2).map(&:strip)
    old = (version.split('.').map(&:to_i) <=> [3, 11]) < 0
    [version, executable, old ? "#{name} is #{version}" : nil]
  rescue Error
    [nil, nil, "#{name}: not there"]
  end

  # The names of environments: what is in one follows from its name.
  def environment_id(python, version, wheels)
    lines = wheels.sort.map { |file| "#{::File.basename(file)} #{Digest::SHA256.file(file).hexdigest}" }
    Digest::SHA256.hexdigest([python, version, *lines].join("\n"))[0, 16]
  end

  # The maps that `package service:collect` prints: {attribute => {"services" => …, "available" => …}}.
  def collect(node, attribute)
    command = [package(node), 'service:collect', '--services', services_json(node)]
    shell = run(command, settings(node)['timeout'])
    unless shell.exitstatus == 0
      raise Error, "#{command.join(' ')} ended with #{shell.exitstatus}: #{shell.stderr.strip}"
    end

    document = JSON.parse(shell.stdout)
    maps = document.is_a?(Hash) ? document[attribute] : nil
    return maps if maps.is_a?(Hash) && MAPS.all? { |map| maps[map].is_a?(Hash) }

    raise Error, "#{command.join(' ')} printed what has no maps #{MAPS.join(' and ')} under #{attribute}"
  rescue JSON::ParserError => e
    raise Error, "#{command.join(' ')} printed no JSON: #{e.message.lines.first.to_s.strip}"
  end

  # The agent announces what runs; where none does, the command does once.
  def announce(node)
    command = [package(node), 'service:announce', '--services', services_json(node)]
    command = ['systemctl', 'reload', UNIT] if active?
    shell = run(command, settings(node)['timeout'])
    return if shell.exitstatus == 0

    raise Error, "#{command.join(' ')} ended with #{shell.exitstatus}: #{shell.stderr.strip}"
  end

  def attribute(node)
    told(node, 'attribute') || 'nodepkg'
  end

  def unit(node)
    words = settings(node)['agent_options'].map do |word|
      next word if word.match?(SAFE_WORD)

      raise Error, "nodepkg-services: #{word.inspect} cannot be an option of the agent: it has to be one plain word"
    end
    <<~UNIT
      [Unit]
      Description=Agent of nodepkg: announces what this node provides, and converges when what it needs changes
      Wants=network-online.target
      After=network-online.target
      StartLimitIntervalSec=0

      [Service]
      Type=exec
      ExecStart=#{[package(node), 'service:agent', '--services', services_json(node), *words].join(' ')}
      ExecReload=/bin/kill -HUP $MAINPID
      # Whoever is at work converging goes on when the agent is restarted, also by that very converge.
      KillMode=process
      Restart=always
      RestartSec=10
      TimeoutStopSec=#{Integer(settings(node)['stop_timeout'])}
      # NODEPKG_ETCD_USER and NODEPKG_ETCD_PASSWORD, where etcd wants them.
      EnvironmentFile=-/etc/default/nodepkg-agent
      Environment=HOME=/root
      Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
      # No ProtectSystem=, NoNewPrivileges=, PrivateTmp= or MemoryMax=: converges, and what they start, would inherit it.

      [Install]
      WantedBy=multi-user.target
    UNIT
  end
end
