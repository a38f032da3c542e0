"""Counts for several hosts, on a server that speaks Valkey's protocol (Valkey, Redis).

A request of a key with limits asks the server once. It is never waited for longer than a bound: if
it is away, each host counts for itself, or nobody is let through, as configured.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Tally
from contextlib import suppress

from valkey.exceptions import ValkeyError

from proxy.counts import HostCounts, Taken
from proxy.errors import Unavailable
from proxy.keys import KeyLimits
from proxy.log import log_fields
from proxy.valkey_client import make_client
from proxy.windows import Counter, Windows

logger = logging.getLogger(__name__)

# What a request waits at most. The server is to be near.
_WAIT_SECONDS = 0.25

# How long a server that was away is not asked again.
_AWAY_SECONDS = 1.0

# How often hosts tell each other what is under way, and for how long that is believed.
_TELL_SECONDS = 0.25
_BELIEVED_SECONDS = 2

# A server that nobody has asked anything for so long is asked whether it is there.
_SILENT_SECONDS = 1.0

_CONNECTIONS = 64

# The keys of one name are on one shard of a cluster, by the braces.
_KEY = "sagemaker-proxy:{{{}}}:{}"

# Counts of each second of the last minute, in a hash. The second in which the minute began is
# counted as a whole, so it is never too few.
_FUNCTIONS = """
local now = tonumber(redis.call('TIME')[1])
local function read(key)
  local entries, total, live = redis.call('HGETALL', key), 0, {}
  for i = 1, #entries, 2 do
    local second = tonumber(entries[i])
    if second < now - 60 then redis.call('HDEL', key, entries[i])
    else live[second] = tonumber(entries[i + 1]); total = total + live[second] end
  end
  return total, live
end
local function add(key, amount)
  redis.call('HINCRBY', key, now, amount)
  redis.call('EXPIRE', key, 120)
end
local function wait(live, excess)
  for second = now - 60, now do
    excess = excess - (live[second] or 0)
    if excess < 0 then return second + 61 - now end
  end
  return 61
end
"""
# What each host has under way, one field for each, and when that was said.
_TELLING = """
local function tell(key, host, count, believed)
  redis.call('HSET', key, host, count .. ' ' .. now)
  redis.call('EXPIRE', key, 120)
  local entries, others = redis.call('HGETALL', key), 0
  for i = 1, #entries, 2 do
    local said, at = string.match(entries[i + 1], '(%d+) (%d+)')
    if said == '0' or tonumber(at) < now - believed then redis.call('HDEL', key, entries[i])
    elseif entries[i] ~= host then others = others + tonumber(said) end
  end
  return others
end
"""
_TAKE = f"""{_FUNCTIONS}{_TELLING}
local most_requests, most_tokens = tonumber(ARGV[1]), tonumber(ARGV[2])
local requests, live_requests = read(KEYS[1])
local tokens, live_tokens = read(KEYS[2])
if most_tokens > 0 and tokens >= most_tokens then
  return {{requests, tokens, 2, wait(live_tokens, tokens - most_tokens), 0}}
end
if most_requests > 0 then
  if requests >= most_requests then
    return {{requests, tokens, 1, wait(live_requests, requests - most_requests), 0}}
  end
  add(KEYS[1], 1)
  requests = requests + 1
end
local others = 0
if ARGV[4] ~= '0' then others = tell(KEYS[3], ARGV[3], ARGV[4], ARGV[5]) end
return {{requests, tokens, 0, 0, others}}
"""
_ADD = f"{_FUNCTIONS}add(KEYS[1], tonumber(ARGV[1]))"
_TELL = f"{_FUNCTIONS}{_TELLING}return tell(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"

_REFUSED = {1: Counter.REQUESTS, 2: Counter.TOKENS}


class ValkeyCounts:
    """To be made inside a running loop."""

    def __init__(self, url: str, windows: Windows, *, opens: bool) -> None:
        """``opens``: while the server is away, each host counts for itself; else all is refused."""
        self._client = make_client(url, seconds=_WAIT_SECONDS, connections=_CONNECTIONS)
        self._take = self._client.register_script(_TAKE)
        self._add = self._client.register_script(_ADD)
        self._tell = self._client.register_script(_TELL)
        self._windows = windows
        self._host = HostCounts(windows)
        self._opens = opens
        self._away_until = 0.0
        self._is_away = False
        self._answered = 0.0
        self._unsent: Tally[tuple[str, str]] = Tally()
        self._sending: asyncio.Task[None] | None = None
        self._elsewhere: dict[str, int] = {}
        self._wanted: set[str] = set()  # those that somebody has looked at since they were told
        self._telling = asyncio.create_task(self._tell_all())

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer when it was asked last, a moment ago."""
        return self._is_away

    async def close(self) -> None:
        """Send what is unsent, and close every connection."""
        self._telling.cancel()
        with suppress(asyncio.CancelledError):
            await self._telling
        if self._sending is not None:
            await self._sending
        await self._client.aclose()

    async def take(self, name: str, limits: KeyLimits) -> Taken:
        """Count a request, if the limits allow it. Raises ``Unavailable`` if it may not open."""
        if asyncio.get_running_loop().time() >= self._away_until:
            # This request is told already, so that no other host takes its place.
            count = self._windows.in_use(name) + 1 if limits.max_concurrent else 0
            keys = [_KEY.format(name, what) for what in ("requests", "tokens", "in_use")]
            most = [limits.requests_per_minute, limits.tokens_per_minute]
            arguments: list[int | str] = [*most, self._windows.host, count, _BELIEVED_SECONDS]
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    requests, tokens, refused, wait, others = await self._take(keys, arguments)
            except (ValkeyError, OSError, TimeoutError) as exc:
                self._note_away(exc)
            else:
                self._note_answer()
                self._elsewhere[name] = others
                return Taken(requests, tokens, _REFUSED.get(refused), wait)
        if self._opens:
            return await self._host.take(name, limits)
        raise Unavailable("the limits cannot be looked up now", headers={"Retry-After": "1"})

    def give_back(self, name: str) -> None:
        """A request that was counted has not been served."""
        self._send(name, "requests", -1)

    def add_tokens(self, name: str, tokens: int) -> None:
        """Count what an answer has cost; here, too, for when the server is away."""
        self._host.add_tokens(name, tokens)
        self._send(name, "tokens", tokens)

    def in_use_elsewhere(self, name: str) -> int:
        """How many requests of ``name`` are under way on other hosts, a moment ago."""
        self._wanted.add(name)
        return self._elsewhere.get(name, 0)

    def _send(self, name: str, what: str, amount: int) -> None:
        self._unsent[name, what] += amount
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        """Nobody waits for it, and what the server does not take is lost to it."""
        while self._unsent:
            unsent, self._unsent = self._unsent, Tally()
            for (name, what), amount in unsent.items():
                if asyncio.get_running_loop().time() < self._away_until:
                    return
                try:
                    async with asyncio.timeout(_WAIT_SECONDS):
                        await self._add([_KEY.format(name, what)], [amount])
                except (ValkeyError, OSError, TimeoutError) as exc:
                    self._note_away(exc)
                else:
                    self._note_answer()

    async def _tell_all(self) -> None:
        """Tell what is under way here, and hear what is elsewhere, of each name that has a use."""
        using: set[str] = set()
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            names, self._wanted = using | self._wanted, set()
            using = {name for name in names if self._windows.in_use(name)}
            if asyncio.get_running_loop().time() < self._away_until:
                self._elsewhere.clear()
                continue
            for name in self._elsewhere.keys() - names:
                del self._elsewhere[name]
            for name in names:
                keys = [_KEY.format(name, "in_use")]
                count = self._windows.in_use(name)
                try:
                    async with asyncio.timeout(_WAIT_SECONDS):
                        self._elsewhere[name] = await self._tell(
                            keys, [self._windows.host, count, _BELIEVED_SECONDS]
                        )
                except (ValkeyError, OSError, TimeoutError) as exc:
                    self._note_away(exc)
                    break
                self._note_answer()
            if asyncio.get_running_loop().time() - self._answered >= _SILENT_SECONDS:
                await self._ask()

    async def _ask(self) -> None:
        """Ask the server whether it is there, if that is not known to be untrue already."""
        if asyncio.get_running_loop().time() < self._away_until:
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._client.ping()
        except (ValkeyError, OSError, TimeoutError) as exc:
            self._note_away(exc)
        else:
            self._note_answer()

    def _note_away(self, exc: Exception) -> None:
        self._away_until = asyncio.get_running_loop().time() + _AWAY_SECONDS
        if not self._is_away:
            self._is_away = True
            choice = (
                "each host counts for itself" if self._opens else "keys with limits are refused"
            )
            log_fields(
                logger,
                logging.ERROR,
                "the server of the limits is away",
                reason=f"{type(exc).__name__}: {exc}",
                choice=choice,
            )

    def _note_answer(self) -> None:
        self._answered = asyncio.get_running_loop().time()
        if self._is_away:
            self._is_away = False
            log_fields(logger, logging.INFO, "the server of the limits is back")
