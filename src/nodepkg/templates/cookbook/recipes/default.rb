# Installs the agent into an environment of its own, and its systemd unit; it is (re)started at the end of the run.
nodepkg_agent 'nodepkg' do
  action [:install, :enable]
end
