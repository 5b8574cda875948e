-- Gives the leadership up, if it is this token's.
--
-- KEYS: leader
-- ARGV: token, channel
-- Says: 1
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.pcall('PUBLISH', ARGV[2], '')
end
return 1
