-- The rules of rules.py and table_store.py, for Redis and Valkey. The constants are defined by redis_store.py.
-- KEYS: 1 rate, 2 workers, 3 lease of the model, 4 cold slots, 5 limit of loads, 6 load times
-- ARGV: 1 operation, 2 time (negative: the clock of the server), 3 worker, 4 model, 5 and more: see the operation

local now = tonumber(ARGV[2])
if now < 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end
local worker, model = ARGV[3], ARGV[4]

local function text(number)
  return string.format('%.17g', number)
end

local function fields(key, names)
  local found, values = redis.call('HMGET', key, unpack(names)), {}
  for place, name in ipairs(names) do
    values[name] = tonumber(found[place] or '0')
  end
  return values
end

local function keep(key, values, seconds)
  local flat = {}
  for name, value in pairs(values) do
    table.insert(flat, name)
    table.insert(flat, text(value))
  end
  redis.call('HSET', key, unpack(flat))
  redis.call('EXPIRE', key, seconds)
end

local function register()
  redis.call('ZADD', KEYS[2], text(now), worker)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - WORKER))
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf')
  redis.call('EXPIRE', KEYS[2], 60)
  return redis.call('ZCARD', KEYS[2]), redis.call('ZCOUNT', KEYS[2], '(' .. text(now - ACTIVE), '+inf')
end

-- 0: no limit
local function learned(state)
  if state.peak == 0 then
    return 0
  end
  local since = now - state.began - state.recovery
  if since < 0 then
    return math.max(LOWEST_RATE, state.peak * (1 - (1 - DECREASE) * (-since / state.recovery) ^ 3))
  end
  local growth = 2 ^ math.min((since / DOUBLING) ^ 2, 64)
  if growth > RELEASED then
    state.peak = 0
    return 0
  end
  return state.peak * growth
end

local function count_answers(state, done)
  if state.counted <= 0 or state.counted > now then
    state.answers, state.span, state.counted = done, 0, now
    return
  end
  local kept = math.exp((state.counted - now) / MEMORY)
  state.answers = state.answers * kept + done
  state.span = state.span * kept + MEMORY * (1 - kept)
  state.counted = now
end

local function decrease(state, sent)
  local rate, measured = learned(state), state.answers / math.max(state.span, MEASURED)
  if rate == 0 then
    state.peak = measured > 0 and measured or FIRST_RATE
    state.recovery = measured > 0 and RECOVERY or 0
    state.free_at = now
  elseif sent < state.began + VOID then
    return
  else
    state.peak, state.recovery = math.min(rate, math.max(measured, rate / 2)), RECOVERY
  end
  state.peak, state.began = math.max(state.peak, LOWEST_RATE), now
end

-- ARGV: 5 given rate, 6 want, 7 done, 8 throttled, 9 known rate
local function reserve()
  local workers, active = register()
  local state = fields(KEYS[1], { 'free_at', 'peak', 'began', 'recovery', 'answers', 'span', 'counted' })
  local given, want = tonumber(ARGV[5]), tonumber(ARGV[6])
  if state.free_at > now + STEPPED then
    state.free_at = now
  end
  state.began = math.min(state.began, now)
  if given == 0 then
    count_answers(state, tonumber(ARGV[7]))
    if tonumber(ARGV[8]) >= 0 then
      decrease(state, now - tonumber(ARGV[8]))
    end
    local known, rate = tonumber(ARGV[9]), learned(state)
    if known > 0 and (rate == 0 or rate > known) then
      state.peak, state.began, state.recovery = known, now, RECOVERY
    end
  end
  local limit, count, starts_in, gap = given, 0, 0, 0
  if given == 0 then
    limit = learned(state)
  end
  if limit == 0 then
    count = UNLIMITED
  elseif want > 0 then
    local start = math.max(state.free_at, now - BURST)
    if start > now + AHEAD then
      starts_in = start - now - AHEAD
    else
      count = math.min(want, math.ceil(limit * SLICE / active))
      state.free_at = start + count / limit
      starts_in, gap = start - now, active / limit
    end
  end
  keep(KEYS[1], state, 60)
  return { text(count), text(starts_in), text(gap), text(limit), text(workers) }
end

-- ARGV: 5 seconds. The time can only be given by tests, so the lease keeps its end itself.
local function acquire()
  local held = redis.call('HMGET', KEYS[3], 'owner', 'ends')
  if held[1] and tonumber(held[2]) > now then
    return { '0', '' }
  end
  redis.call('HSET', KEYS[3], 'owner', worker, 'ends', text(now + tonumber(ARGV[5])))
  redis.call('PEXPIRE', KEYS[3], math.ceil(tonumber(ARGV[5]) * 1000))
  return { '1', redis.call('HGET', KEYS[6], model) or '' }
end

local function owned()
  return redis.call('HGET', KEYS[3], 'owner') == worker
end

-- ARGV: 5 seconds
local function renew()
  if owned() then
    redis.call('HSET', KEYS[3], 'ends', text(now + tonumber(ARGV[5])))
    redis.call('PEXPIRE', KEYS[3], math.ceil(tonumber(ARGV[5]) * 1000))
  end
  local slot = worker .. '/' .. model
  if redis.call('ZSCORE', KEYS[4], slot) then
    redis.call('ZADD', KEYS[4], text(now + tonumber(ARGV[5])), slot)
    redis.call('EXPIRE', KEYS[4], 86400)
  end
  return { '1' }
end

-- ARGV: 5 load times of the model; empty if nothing was learned
local function release()
  if owned() then
    redis.call('DEL', KEYS[3])
  end
  if ARGV[5] ~= '' then
    redis.call('HSET', KEYS[6], model, ARGV[5])
    redis.call('EXPIRE', KEYS[6], 604800)
  end
  return { '1' }
end

local function used_slots()
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now))
  return redis.call('ZCARD', KEYS[4])
end

-- ARGV: 5 seconds, 6 limit at the beginning, 7 whether it is taken above the limit too
local function take_slot()
  renew()
  local state, slot = fields(KEYS[5], { 'limit', 'epoch' }), worker .. '/' .. model
  if state.limit == 0 then
    state.limit = tonumber(ARGV[6])
    keep(KEYS[5], state, 86400)
  end
  if used_slots() >= state.limit and ARGV[7] == '0' and not redis.call('ZSCORE', KEYS[4], slot) then
    return { '-1' }
  end
  redis.call('ZADD', KEYS[4], text(now + tonumber(ARGV[5])), slot)
  redis.call('EXPIRE', KEYS[4], 86400)
  return { text(state.epoch) }
end

-- ARGV: 5 verdict, 6 epoch, 7 highest limit
local function free_slot()
  local state, used, verdict = fields(KEYS[5], { 'limit', 'epoch' }), used_slots(), tonumber(ARGV[5])
  if redis.call('ZREM', KEYS[4], worker .. '/' .. model) == 1 then
    if verdict > 0 and used >= state.limit then
      state.limit = math.min(tonumber(ARGV[7]), state.limit + 1)
    elseif verdict < 0 and tonumber(ARGV[6]) == state.epoch then
      state.limit, state.epoch = math.max(1, math.floor(state.limit / 2)), state.epoch + 1
    end
    keep(KEYS[5], state, 86400)
  end
  return { '1' }
end

local operations = {
  reserve = reserve,
  acquire = acquire,
  renew = renew,
  release = release,
  take_slot = take_slot,
  free_slot = free_slot,
}
return operations[ARGV[1]]()
