include_recipe "vftp"

seatgeek_worker "ftp-listener" do
  command "vftpd /srv/ftp"
end
