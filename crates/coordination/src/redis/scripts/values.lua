-- A page of values in the order of their names.
--
-- KEYS: values, names
-- ARGV: first name (as ZRANGEBYLEX has it), end (likewise), values at most, bytes at most
-- Says: name, ms left (empty for ever), value; and so on
local from, to, limit, bytes_at_most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local page, bytes, found = {}, 0, 0
-- What is over and not swept yet is passed by, so one look may not be enough.
local names_a_look = 256
while true do
  local names = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, names_a_look)
  for _, name in ipairs(names) do
    if found >= limit or bytes >= bytes_at_most then
      return page
    end
    local row = redis.call('HGET', KEYS[1], name)
    if row then
      local until_, value = string.match(row, '^(%d+) (.*)$')
      local left = tonumber(until_) - clock
      if until_ == '0' or left > 0 then
        found, bytes = found + 1, bytes + #name + #value
        page[#page + 1] = name
        page[#page + 1] = until_ == '0' and '' or string.format('%.0f', left)
        page[#page + 1] = value
      end
    end
  end
  if #names < names_a_look then
    return page
  end
  from = '(' .. names[#names]
end
