directory node["seatgeek"]["state"] do
  recursive true
  mode "0755"
end

file ::File.join(node["seatgeek"]["state"], "environment") do
  content "#{node["environment"]}\n"
  mode "0644"
end
