-- Takes the leadership where nobody holds it and this arbitrator may have it.
--
-- KEYS: leader, term, keys, format
-- ARGV: token, arbitrator, above, ttl in ms, own session_ttl as text, only as first (1 or 0),
--       wanted until (server's clock, ms), channel, format known here
-- Says: {won, term, longest session_ttl as text} | {lost, elector (1 or 0), arbitrator, term, clock}
--       | {late, clock} | {newer, format}
local leader, term, keys, format = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, arbitrator, above, ttl, own = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local only_as_first, wanted_until, channel, known_format = ARGV[6] == '1', ARGV[7], ARGV[8], ARGV[9]

-- Decimal numbers as text: a Lua number is exact to 2^53 only.
local function larger(a, b)
  return #a > #b or (#a == #b and a > b)
end

local time = redis.call('TIME')
local clock = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if larger(clock, wanted_until) then
  return {'late', clock}
end
local found_format = redis.call('GET', format)
if found_format and larger(found_format, known_format) then
  return {'newer', found_format}
end

local none, elector = true, true
local electors = redis.call('HGET', keys, 'electors')
if electors then
  local members = cjson.decode(string.match(electors, '^%d+ (.*)$'))['members']
  none = #members == 0
  elector = none
  for _, member in ipairs(members) do
    elector = elector or member == arbitrator
  end
end
local held = redis.call('HMGET', leader, 'arbitrator', 'term')
if held[1] or not elector or (only_as_first and not none) then
  return {'lost', elector and '1' or '0', held[1] or '', held[2] or '', clock}
end

local stored = redis.call('HGET', term, 'term')
if larger(above, stored or '0') then
  redis.call('HSET', term, 'term', above)
end
redis.call('HINCRBY', term, 'term', 1)
local new = redis.call('HGET', term, 'term')
redis.call('HSET', term, 'arbitrator', arbitrator, 'token', token)
redis.call('HSET', leader, 'arbitrator', arbitrator, 'token', token, 'term', new)
redis.call('PEXPIRE', leader, ttl)
if not found_format then
  redis.call('SET', format, known_format)
end

local longest, version = own, nil
local kept = redis.call('HGET', keys, 'longest_ttl')
if kept then
  version, kept = string.match(kept, '^(%d+) (.*)$')
  if not larger(string.match(own, '%d+'), string.match(kept, '%d+')) then
    longest = kept
  end
end
if longest ~= kept then
  redis.call('HINCRBY', term, 'version', 1)
  redis.call('HSET', keys, 'longest_ttl', redis.call('HGET', term, 'version') .. ' ' .. longest)
end
-- A user who may not publish: the others find out by looking.
redis.pcall('PUBLISH', channel, new)
return {'won', new, longest}
