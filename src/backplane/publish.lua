-- Orders publishes, all that a node has gathered, in one step: idempotency keys, ids, the stream.
--
-- KEYS: the stream, the fleet's hash, then each idempotency key that a publish names.
-- ARGV: tag, greatest id that the node knows (ms, n), milliseconds for which keys are kept; then for each
-- publish: places in the order, payload, its key as an index into KEYS or 0, fingerprint, subscribers.
-- Returns for each publish its id, or "=" and all that its key stands for: fingerprint, id, events, subscribers.
--
-- An id is `<ms>-<count * 1024 + tag>`. A payload of several events has the id of the last. The hash holds the
-- id of the newest entry, and each entry the id of the one before it, so that a reader knows of any hole.
if redis.replicate_commands then redis.replicate_commands() end
local stream, fleet, tag = KEYS[1], KEYS[2], tonumber(ARGV[1])
local last = redis.call('HGET', fleet, 'last')
-- An emptied server: no node has read this id, so each knows that it may have missed something.
local previous = last or '0-0'
local ms, n = string.match(last or (ARGV[2] .. '-' .. ARGV[3]), '^(%d+)-(%d+)$')
if not ms then return redis.error_reply('FANWHEEL the hash of the fleet is broken') end
ms, n = tonumber(ms), tonumber(n)
if last and n % 1024 ~= tag then
    return redis.error_reply('FANWHEEL another fleet has this name, or had it before the server was emptied')
end
local floor_ms, floor_n = tonumber(ARGV[2]), tonumber(ARGV[3])
if floor_ms > ms or floor_ms == ms and floor_n > n then ms, n = floor_ms, floor_n end
local count = math.floor(n / 1024)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function advance(places)
    if now > ms then ms, count = now, 0 else count = count + 1 end
    count = count + places - 1
    ms, count = ms + math.floor(count / 1024), count % 1024
    return string.format('%.0f-%.0f', ms, count * 1024 + tag)
end

-- Moves on after whatever somebody else has written into the stream.
local function pass_foreign()
    local info = redis.call('XINFO', 'STREAM', stream)
    for place = 1, #info, 2 do
        if info[place] == 'last-generated-id' then
            ms, count = tonumber(string.match(info[place + 1], '^(%d+)-')) + 1, -1
        end
    end
end

local function append(places, payload)
    for try = 1, 2 do
        local id = advance(places)
        if ms > 17592186044415 then
            return nil, redis.error_reply('FANWHEEL a foreign entry has used up all ids: delete the stream')
        end
        local added = redis.pcall('XADD', stream, id, 'v', '1', 'p', previous, 'e', payload)
        if type(added) ~= 'table' then
            previous = id
            return id
        end
        if try == 2 or not string.find(added.err, 'equal or smaller', 1, true) then return nil, added end
        pass_foreign()
    end
end

local answers = {}
for first = 5, #ARGV, 5 do
    local key = tonumber(ARGV[first + 2])
    local known = key > 0 and redis.pcall('GET', KEYS[key])
    if type(known) == 'string' then
        answers[#answers + 1] = '=' .. known
    else
        local places = tonumber(ARGV[first])
        local id, failure = append(places, ARGV[first + 1])
        if not id then return failure end
        if key > 0 then
            local value = ARGV[first + 3] .. ' ' .. id .. ' ' .. places .. ' ' .. ARGV[first + 4]
            redis.pcall('SET', KEYS[key], value, 'PX', ARGV[4])
        end
        redis.call('HSET', fleet, 'last', id, 'version', '1')
        answers[#answers + 1] = id
    end
end
return answers
