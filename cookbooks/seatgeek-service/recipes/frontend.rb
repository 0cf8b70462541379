include_recipe "nginx"

seatgeek_worker "frontend" do
  command "nginx -g 'daemon off;'"
end
