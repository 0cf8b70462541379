# node['nodepkg']['services'] and ['available'], fresh from the registry (services.attribute names another attribute).
# While recipes are compiled, so that those behind this one in the run list can use them as plain attributes.
#
# At the level of the dna (normal), each map whole: the dna of a converge that the agent runs has the same maps, some
# moments older, and that of a deploy has none. So a cookbook sees one thing at one level whichever it was, a provider
# that has gone is not merged back in from the dna (hashes of two levels are), and a role's override still pins a
# service. In local mode chef-solo keeps this level from run to run, so the last that was collected is what stays
# where nothing can be.
begin
  NodepkgServices.collect(node).each do |attribute, maps|
    node.normal[attribute]['services'] = maps['services']
    node.normal[attribute]['available'] = maps['available']
  end
rescue NodepkgServices::Error => e
  attribute = NodepkgServices.attribute(node)
  kept = node.read(attribute, 'services') || node.read(attribute, 'available')
  raise if !kept && node['nodepkg-services']['required']

  Chef::Log.warn("nodepkg-services: #{e.message}: #{kept ? "what is known in node['#{attribute}'] stays" : 'no service is known'}")
  %w(services available).each { |map| node.default[attribute][map] = {} unless node.read(attribute, map) }
end
