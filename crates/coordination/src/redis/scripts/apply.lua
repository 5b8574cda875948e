-- Sets and removes values: all of them while the token leads, else none.
--
-- KEYS: leader, barrier, values, names, ends (names by when their time is over), writer (of the last write)
-- ARGV: token, writer, number of this write of that writer,
--       then for each: `set`, name, value, ttl in ms (empty for ever), or `delete`, name, '', ''
-- Says: applied | deposed | late
local leader, barrier, values, names, ends, writer = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
if redis.call('HGET', leader, 'token') ~= ARGV[1] then
  -- A replica refuses this: that a leadership is over is a master's word alone.
  redis.call('DEL', barrier)
  return 'deposed'
end
-- A write that was given up, and comes on a connection of before: a later one has overtaken it.
local last = redis.call('HMGET', writer, 'writer', 'number')
if last[1] == ARGV[2] and tonumber(last[2]) >= tonumber(ARGV[3]) then
  return 'late'
end
redis.call('HSET', writer, 'writer', ARGV[2], 'number', ARGV[3])

local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local function remove(name)
  redis.call('HDEL', values, name)
  redis.call('ZREM', names, name)
  redis.call('ZREM', ends, name)
end

-- What is over takes no room: a few at a time, so that nobody waits long for it.
local swept_at_once = 100
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', clock, 'LIMIT', 0, swept_at_once)
for _, name in ipairs(over) do
  remove(name)
end
for at = 4, #ARGV, 4 do
  local name, value, ttl = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if ARGV[at] == 'delete' then
    remove(name)
  else
    local until_ = '0'
    if ttl == '' then
      redis.call('ZREM', ends, name)
    else
      until_ = string.format('%.0f', clock + tonumber(ttl))
      redis.call('ZADD', ends, until_, name)
    end
    redis.call('HSET', values, name, until_ .. ' ' .. value)
    redis.call('ZADD', names, 0, name)
  end
end
return 'applied'
