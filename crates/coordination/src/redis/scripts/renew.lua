-- Keeps the leadership for another while.
--
-- KEYS: leader, barrier
-- ARGV: token, ttl in ms
-- Says: 1, or 0 where it is not this token's
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  -- A replica refuses this: that a leadership is over is a master's word alone.
  redis.call('DEL', KEYS[2])
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
