-- Lets a node join the fleet: founds it if there is none.
--
-- KEYS: the stream, the fleet's hash. ARGV: the tag of a new fleet.
-- Returns the version of the entries, and the id of the newest.
if redis.replicate_commands then redis.replicate_commands() end
local stream, fleet = KEYS[1], KEYS[2]
if redis.call('EXISTS', fleet) == 0 then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('HSET', fleet, 'last', string.format('%.0f-%s', now, ARGV[1]), 'version', '1')
end
return redis.call('HMGET', fleet, 'version', 'last')
