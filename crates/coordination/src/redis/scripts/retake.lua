-- Takes the leader's key again in the same term, where no other leadership began since.
--
-- KEYS: leader, term, barrier
-- ARGV: token, arbitrator, term, ttl in ms, channel
-- Says: 1, or 0 where another began
local holder = redis.call('HGET', KEYS[1], 'token')
local last = redis.call('HMGET', KEYS[2], 'token', 'term')
if (holder and holder ~= ARGV[1]) or last[1] ~= ARGV[1] or last[2] ~= ARGV[3] then
  -- A replica refuses this: that a leadership is over is a master's word alone.
  redis.call('DEL', KEYS[3])
  return 0
end
redis.call('HSET', KEYS[1], 'arbitrator', ARGV[2], 'token', ARGV[1], 'term', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.pcall('PUBLISH', ARGV[5], ARGV[3])
return 1
