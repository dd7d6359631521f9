-- What wrk sends, and the one line of JSON it ends with.
--
-- wrk ... URL -- heads HOSTS      1 000 requests that differ in path, query and Cookie; HOSTS is
--                                 "" or a comma-separated list for the Host field
-- wrk ... URL -- get PATH         the same request again and again
-- wrk ... URL -- upload BYTES     a POST with a body of that size
--
-- The name in the URL is what goes into SNI; the address is always 127.0.0.1.

local prepared, following = {}, 0

function wrk.resolve(_, service)
  wrk.addrs = wrk.lookup("127.0.0.1", service)
end

local browser = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  ["Accept-Language"] = "en-US,en;q=0.5",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Connection"] = "keep-alive",
}

local function prepare_heads(hosts)
  local names = {}
  for name in hosts:gmatch("[^,]+") do names[#names + 1] = name end
  math.randomseed(1)
  for i = 1, 1000 do
    local headers = {}
    for name, value in pairs(browser) do headers[name] = value end
    headers["Host"] = names[(i - 1) % #names + 1] or wrk.headers["Host"]
    headers["Referer"] = "https://" .. headers["Host"] .. "/items/"
    headers["Cookie"] = string.format("session=%08x%08x%08x; theme=dark",
      math.random(0, 0x7fffffff), math.random(0, 0x7fffffff), i)
    local path = string.format("/items/%d/view?page=%d&sort=name", i * 7919 % 100000, i % 50)
    prepared[i] = wrk.format("GET", path, headers)
  end
  request = function()
    following = following % 1000 + 1
    return prepared[following]
  end
end

function init(args)
  local kind, argument = args[1], args[2]
  if kind == "heads" then
    prepare_heads(argument or "")
    return
  end
  for name, value in pairs(browser) do wrk.headers[name] = value end
  if kind == "get" then
    wrk.path = argument
  else
    wrk.method = "POST"
    wrk.body = string.rep("0123456789abcdef", tonumber(argument) / 16)
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "bytes": %d, "p99_ms": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
