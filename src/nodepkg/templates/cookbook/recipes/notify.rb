# Makes the agent announce what runs now, at the end of the run; where no agent runs, service:announce does it once.
# Put it last into the run list: a run that fails before it announces nothing.
nodepkg_agent 'announcement' do
  action :notify
end
