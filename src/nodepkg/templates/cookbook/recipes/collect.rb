# node['nodepkg']['services'] and ['available'], fresh from the registry (services.attribute names another attribute).
# While recipes are compiled, so that those behind this one in the run list can use them as plain attributes.
#
# At the level override, and taken away from the level of the dna (normal): the dna of a converge that the agent runs has
# the same maps, some moments older, and hashes of two levels are merged, so a provider that has gone would come back. And
# in local mode chef-solo keeps normal attributes from run to run, and unites lists of the dna with those that it kept.
# What is not left there is not kept. A role's override still counts before this one, and can pin a service.
attribute = NodepkgServices.attribute(node)
begin
  maps = NodepkgServices.collect(node, attribute)
rescue NodepkgServices::Error => e
  maps = NodepkgServices::MAPS.map { |map| [map, node.read(attribute, map)&.to_h] }.to_h.compact
  raise if maps.empty? && node['nodepkg-services']['required']

  stays = maps.empty? ? 'no service is known' : "what the dna says in node['#{attribute}'] stays"
  Chef::Log.warn("nodepkg-services: #{e.message}: #{stays}")
end

NodepkgServices::MAPS.each do |map|
  node.rm_normal(attribute, map)
  node.override[attribute][map] = maps[map] || {}
end
