directory "/etc/hello" do
  mode "0755"
end

file "/etc/hello/greeting" do
  content "#{node["hello"]["greeting"]}\n"
  mode "0644"
end
