-- wrk's part in ./dev bench: pipelines the request as often as asked, and prints what it counted as
-- one JSON object.
--     wrk ... -s wrk.lua URL -- DEPTH

function init(args)
    local depth = tonumber(args[1] or "1")
    if depth > 1 then
        -- Without this function wrk sends one request made beforehand, which costs it less.
        local one, all = wrk.format(), {}
        for i = 1, depth do all[i] = one end
        local batch = table.concat(all)
        request = function() return batch end
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "wall_ns": %d, "p50_us": %d, "p99_us": %d, "bytes": %d, "errors": %d}\n',
        summary.requests, summary.duration * 1000, latency:percentile(50), latency:percentile(99),
        summary.bytes,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
