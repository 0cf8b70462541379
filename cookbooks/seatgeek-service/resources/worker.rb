# A service of ours: its folder and what starts it.
resource_name :seatgeek_worker
provides :seatgeek_worker
unified_mode true

property :command, String, required: true

action :create do
  directory "/srv/#{new_resource.name}" do
    mode "0755"
  end

  file "/srv/#{new_resource.name}/run" do
    content "#!/bin/sh\nexec #{new_resource.command}\n"
    mode "0755"
  end
end
