-- A value, unless its time is over.
--
-- KEYS: values
-- ARGV: name
-- Says: {value}, or {} where there is none
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then
  return {}
end
local until_, value = string.match(row, '^(%d+) (.*)$')
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
if until_ ~= '0' and tonumber(until_) <= clock then
  return {}
end
return {value}
