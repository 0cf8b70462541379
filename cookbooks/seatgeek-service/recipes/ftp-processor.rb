include_recipe "python"

seatgeek_worker "ftp-processor" do
  command "python3 -m ftp_processor /srv/ftp"
end
