-- Who leads, and for how long yet without a renewal.
--
-- KEYS: leader
-- Says: {arbitrator, term, ms left}, or {} where nobody does
local held = redis.call('HMGET', KEYS[1], 'arbitrator', 'term')
if not held[1] then
  return {}
end
return {held[1], held[2], tostring(redis.call('PTTL', KEYS[1]))}
