# Publishes one event: ruby publish.rb TOPIC TEXT. CONTROL is the server's control address.
require "net/http"

uri = URI("#{ENV.fetch("CONTROL", "http://127.0.0.1:8081")}/publish")
uri.query = URI.encode_www_form(topic: ARGV[0])
answer = Net::HTTP.post(uri, ARGV[1], "Content-Type" => "text/plain")
abort "not published: #{answer.code} #{answer.body}" unless answer.is_a?(Net::HTTPSuccess)
