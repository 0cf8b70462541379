# Runs last (post_run_list): which services does this machine have?
services = node["recipes"].map { |recipe| recipe[/\Aseatgeek-service::(.+)\z/, 1] }.compact.uniq.sort

file ::File.join(node["seatgeek"]["state"], "services.json") do
  content "#{Chef::JSONCompat.to_json_pretty("available" => services)}\n"
  mode "0644"
end
