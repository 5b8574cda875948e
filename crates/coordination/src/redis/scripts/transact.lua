-- One fenced transaction: all of its writes while the token leads and every check holds, else none.
--
-- KEYS: leader, term, barrier, then the hash of each check, then the hash of each write
-- ARGV: token, number of checks, for each: field, version;
--       then for each write: field, `put` or `delete`, text
-- Says: {applied, version} | {refused} | {deposed}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  -- A replica refuses this: that a leadership is over is a master's word alone.
  redis.call('DEL', KEYS[3])
  return {'deposed'}
end
local key, at = 4, 3
for _ = 1, tonumber(ARGV[2]) do
  local stored = redis.call('HGET', KEYS[key], ARGV[at])
  local version = stored and string.match(stored, '^%d+') or '0'
  if version ~= ARGV[at + 1] then
    redis.call('DEL', KEYS[3])
    return {'refused'}
  end
  key, at = key + 1, at + 2
end
redis.call('HINCRBY', KEYS[2], 'version', 1)
local version = redis.call('HGET', KEYS[2], 'version')
while key <= #KEYS do
  if ARGV[at + 1] == 'put' then
    redis.call('HSET', KEYS[key], ARGV[at], version .. ' ' .. ARGV[at + 2])
  else
    redis.call('HDEL', KEYS[key], ARGV[at])
  end
  key, at = key + 1, at + 3
end
return {'applied', version}
