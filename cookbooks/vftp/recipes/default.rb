directory "/srv/ftp" do
  mode "0750"
end
