include_recipe "python"

codebase = data_bag_item("codebases", "api")

seatgeek_worker "api-workers" do
  command "#{codebase["start"]}"
end
