directory "/opt/python" do
  mode "0755"
end

file "/opt/python/README" do
  content "Virtual environments of the workers live here.\n"
  mode "0644"
end
