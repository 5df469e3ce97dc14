-- Makes the globals that scripts see, and the function that runs a script.
--
-- All scripts of all clients run in one state, so none may leave anything there: what they see are empty tables
-- that read from tables that they cannot reach. There is nothing of the system, and no code but source text.

local host = ...

-- Locals from here on, which scripts cannot exchange.
local error, getmetatable, setmetatable = error, getmetatable, setmetatable
local next, pairs, ipairs, select, unpack = next, pairs, ipairs, select, unpack
local rawget, rawset, tostring, type = rawget, rawset, tostring, type
local pcall, xpcall, collectgarbage, concat = pcall, xpcall, collectgarbage, table.concat

local protected = setmetatable({}, { __mode = "k" })

local function refuse()
  error("Attempt to modify a readonly table", 2)
end

local function protect(members)
  local proxy = setmetatable({}, { __index = members, __newindex = refuse, __metatable = false })
  protected[proxy] = true
  return proxy
end

local function members(library, names)
  local copy = {}
  for _, name in ipairs(names) do
    copy[name] = library[name]
  end
  return copy
end

-- The methods of strings are those of this table.
string.dump = nil
getmetatable("").__metatable = false

local visible = members(_G, {
  "assert", "error", "gcinfo", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget", "select",
  "setmetatable", "tonumber", "tostring", "type", "unpack", "_VERSION",
})
local globals = protect(visible)
visible._G = globals
visible.string = protect(string)
visible.table = protect(members(table, {
  "concat", "foreach", "foreachi", "getn", "insert", "maxn", "remove", "sort",
}))
visible.math = protect(members(math, {
  "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "huge",
  "ldexp", "log", "log10", "max", "min", "mod", "modf", "pi", "pow", "rad", "random", "randomseed", "sin", "sinh",
  "sqrt", "tan", "tanh",
}))
local threads = members(coroutine, { "create", "running", "status", "wrap", "yield" })
visible.coroutine = protect(threads)
setmetatable(visible, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})

visible.rawset = function(target, key, value)
  if protected[target] then
    error("Attempt to modify a readonly table", 0)
  end
  return rawset(target, key, value)
end

-- The collector is not for scripts to stop.
visible.collectgarbage = function(option)
  if option == "count" then
    return collectgarbage("count")
  end
  return collectgarbage("collect")
end

-- The error of a command comes as a value of the host's. Scripts see a table with its text.
local function failure_of(failure)
  return type(failure) == "userdata" and host.failure(failure) or failure
end

-- Scripts that were written for old versions expect the text of an error, not a table.
local function with_text(ok, failure, ...)
  if ok then
    return true, failure, ...
  end
  failure = failure_of(failure)
  if type(failure) == "table" and type(rawget(failure, "err")) == "string" then
    return false, rawget(failure, "err")
  end
  return false, failure
end

visible.pcall = function(...)
  return with_text(pcall(...))
end

-- The handler is called after the error, not within it: Lua calls no hook of ours while it handles an error that
-- the hook has raised, so that a handler without an end would never be ended.
visible.xpcall = function(called, handler)
  local function finish(ok, failure, ...)
    if ok then
      return true, failure, ...
    end
    return false, select(2, with_text(pcall(handler, failure_of(failure))))
  end
  return finish(pcall(called))
end

local resume = coroutine.resume
threads.resume = function(...)
  return with_text(resume(...))
end

visible.loadstring = function(text, name)
  return host.compile(text, name, globals)
end

visible.load = function(reader, name)
  local parts = {}
  for part in reader do
    if part == "" then
      break
    end
    parts[#parts + 1] = part
  end
  return host.compile(concat(parts), name, globals)
end

local function reply_with(field)
  return function(...)
    local text = ...
    if select("#", ...) ~= 1 or type(text) ~= "string" then
      return { err = "ERR wrong number or type of arguments" }
    end
    return { [field] = text }
  end
end

local redis = {
  -- Functions of the host, because one of Lua would hide the line of a script that returns its result.
  call = host.call,
  pcall = host.pcall,
  status_reply = reply_with("ok"),
  error_reply = function(...)
    local reply = reply_with("err")(...)
    local code, rest = string.match(reply.err, "^%-?([^ ]*) (.*)$")
    if not code then
      code, rest = "ERR", string.match(reply.err, "^%-?(.*)$")
    end
    reply.err = code .. " " .. rest
    return reply
  end,
  sha1hex = function(...)
    if select("#", ...) ~= 1 then
      error({ err = "ERR wrong number of arguments" })
    end
    return host.sha1hex((...))
  end,
  log = function(level, ...)
    if type(level) ~= "number" or select("#", ...) == 0 then
      error({ err = "ERR redis.log() requires two arguments or more." })
    end
    if level < 0 or level > 3 then
      error({ err = "ERR Invalid debug level." })
    end
    local parts = { ... }
    for index, part in ipairs(parts) do
      parts[index] = tostring(part)
    end
    host.log(level, concat(parts, " "))
  end,
  setresp = function(...)
    local version = ...
    if select("#", ...) ~= 1 then
      error({ err = "ERR redis.setresp() requires one argument." })
    end
    if version ~= 2 and version ~= 3 then
      error({ err = "ERR RESP version must be 2 or 3." })
    end
    host.set_protocol(version)
  end,
  -- There are no replicas and no debugger, so these have nothing to do.
  replicate_commands = function()
    return true
  end,
  set_repl = function() end,
  breakpoint = function()
    return false
  end,
  debug = function() end,
  REPL_NONE = 0,
  REPL_AOF = 1,
  REPL_SLAVE = 2,
  REPL_REPLICA = 2,
  REPL_ALL = 3,
  LOG_DEBUG = 0,
  LOG_VERBOSE = 1,
  LOG_NOTICE = 2,
  LOG_WARNING = 3,
  REDIS_VERSION = host.version,
  REDIS_VERSION_NUM = host.version_number,
}
visible.redis = protect(redis)

local function describe(failure)
  local text
  failure = failure_of(failure)
  if type(failure) == "table" then
    text = rawget(failure, "err")
  else
    text = "ERR " .. tostring(failure)
  end
  if type(text) ~= "string" then
    text = "ERR unknown error"
  end
  return { err = text, line = host.line() }
end

-- Runs a script. Returns true and its result, or false and a table with the text of the error and its line.
local function run(script, keys, arguments)
  rawset(visible, "KEYS", keys)
  rawset(visible, "ARGV", arguments)
  local ok, result = xpcall(script, describe)
  rawset(visible, "KEYS", nil)
  rawset(visible, "ARGV", nil)
  return ok, result
end

return globals, run
