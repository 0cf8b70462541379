directory "/etc/nginx" do
  mode "0755"
end

template "/etc/nginx/nginx.conf" do
  source "nginx.conf.erb"
  mode "0644"
end
