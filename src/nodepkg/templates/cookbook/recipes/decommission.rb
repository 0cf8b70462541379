# Takes off every service that node['nodepkg']['available'] says is no more, by the recipe delete-NAME of its cookbook.
# Behind nodepkg-services::collect. Whoever uses the service was told before: the agent has withdrawn it.
attribute = NodepkgServices.attribute(node)
cookbook = node['nodepkg-services']['cookbook'] || NodepkgServices.told(node, 'cookbook')
gone = (node.read(attribute, 'available') || {}).select { |_, available| available == false }.keys
if gone.any? && cookbook.nil?
  raise NodepkgServices::Error, "nodepkg-services: nobody says which cookbook takes off #{gone.sort.join(', ')}: " \
                                "set node['nodepkg-services']['cookbook']"
end

gone.sort.each do |name|
  recipe = "#{cookbook}::delete-#{name}"
  next if (node['expanded_run_list'] || []).include?(recipe)

  begin
    include_recipe recipe
  rescue Chef::Exceptions::CookbookNotFound => e
    raise NodepkgServices::Error, "nodepkg-services: #{recipe} cannot be included (#{e.message.lines.first.strip}): " \
                                  "put recipe[#{recipe}] into the run list, as the agent does"
  end
end
