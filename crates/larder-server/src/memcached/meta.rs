//! The commands of the meta protocol: two letters, a key, and flags that say what to do and what to return.
#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use larder::InsertOptions;

use super::MemcachedSession;
use super::error::MemcachedError;
use super::line::{Expires, MetaFlags, number};
use super::text::{Side, Storing, counted, number_in_place_of};
use crate::bytes::Bytes;
use crate::decimal::push_decimal;
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::leases::Asked;
use crate::stats::MemcachedCount;
use crate::store::{Decision, Lifetime, SetCondition};
use crate::value::{Freshness, Value};
use crate::version::{CasToken, Version};

/// What a reply may have to say of an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    flags: u32,
    len: usize,
    version: Option<Version>,
    /// How many seconds it has left; negative for ever.
    seconds_left: i64,
    age_s: u64,
    is_used: bool,
}

impl Facts {
    /// What a value says itself.
    fn of(value: &Value) -> Self {
        Self {
            flags: value.flags(),
            len: value.as_bytes().map_or(0, <[u8]>::len),
            version: Some(value.version()),
            seconds_left: -1,
            ..Self::default()
        }
    }
}

/// Which client should load a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Loading {
    /// This one should load it.
    is_won: bool,
    /// The value is stale.
    is_stale: bool,
    /// Another client was told to load it.
    is_sent: bool,
}

impl MemcachedSession {
    pub(super) fn execute_meta(
        &mut self,
        command: u8,
        args: &[&[u8]],
        data: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        if command == b'n' {
            output.extend_from_slice(b"MN\r\n");
            return Ok(());
        }
        let (word, rest) = args.split_first().ok_or(match command {
            b'g' | b's' | b'd' | b'a' | b'e' => MemcachedError::BadLine,
            _ => MemcachedError::UnknownCommand,
        })?;
        match command {
            b'g' => self.meta_get(word, &MetaFlags::parse(rest)?, output),
            b's' => {
                let flags = rest.get(1..).unwrap_or_default();
                self.meta_set(word, &MetaFlags::parse(flags)?, data, output)
            }
            b'd' => self.meta_delete(word, &MetaFlags::parse(rest)?, output),
            b'a' => self.meta_arithmetic(word, &MetaFlags::parse(rest)?, output),
            b'e' => self.meta_debug(word, &MetaFlags::parse(rest)?, output),
            _ => Err(MemcachedError::UnknownCommand),
        }
    }

    /// The facts of an entry that a reply with these flags needs: the time that it has left, which takes another
    /// lookup, and its age are left out if they are not asked for.
    fn facts(&self, key: &[u8], value: &Value, flags: &MetaFlags<'_>) -> Facts {
        match flags.has(b't') || flags.has(b'l') || flags.has(b'R') {
            true => self.all_facts(key, value),
            false => Facts::of(value),
        }
    }

    fn all_facts(&self, key: &[u8], value: &Value) -> Facts {
        let left = self.db().seconds_left(key);
        Facts {
            seconds_left: left.map_or(-1, |left| i64::try_from(left).unwrap_or(i64::MAX)),
            age_s: value.version().age().as_secs(),
            is_used: self.is_used(key),
            ..Facts::of(value)
        }
    }

    /// Whether the value was read since it was written.
    fn is_used(&self, key: &[u8]) -> bool {
        self.db().info(key).is_some_and(|info| info.frequency > 0)
    }

    /// Answers `mg` in the usual case: the flags ask only for what the value itself tells, and no client should load it
    /// anew. Returns whether it has answered.
    fn get_plainly(&self, word: &[u8], flags: &MetaFlags<'_>, output: &mut Vec<u8>) -> bool {
        if flags.iter().any(|(flag, _)| !b"cfkOqsv".contains(&flag)) {
            return false;
        }
        let found = self.db().read(word, |value| {
            let Some(bytes) = value.as_bytes() else { return false };
            if value.freshness() != Freshness::default() {
                return false;
            }
            let data = flags.has(b'v').then_some(bytes);
            head(output, data);
            returned(output, word, flags, &Facts::of(value), FACTS_OF_GET);
            end(output, data);
            true
        });
        let is_answered = found == Some(true);
        if is_answered {
            self.count_lookup(true);
        }
        is_answered
    }

    fn meta_get(
        &self,
        word: &[u8],
        flags: &MetaFlags<'_>,
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let key = flags.key(word)?;
        if self.get_plainly(word, flags, output) {
            return Ok(());
        }
        let vivify = flags.number::<i64>(b'N')?;
        let recache = flags.number::<i64>(b'R')?;
        let explicit = flags.number(b'E')?.map(Version::from_number);
        let touch = flags.expires(b'T')?;
        let compared = flags.number(b'C')?.map(CasToken::from_number);
        // Before the read, which is a use itself.
        let is_used = flags.has(b'h') && self.is_used(&key);
        let value = loop {
            let found = match flags.has(b'u') {
                // It must not count as a use.
                true => self.db().peek(&key),
                false => self.db().read(&key, Value::clone),
            };
            if let Some(value) = found {
                break value;
            }
            let asked = self.ask_for_lease(&key, vivify, explicit);
            if asked != Asked::Present {
                self.count_lookup(false);
                answer_miss(asked, word, flags, output);
                return Ok(());
            }
        };
        let Some(bytes) = value.as_bytes() else { return Err(MemcachedError::WrongType) };
        self.count_lookup(true);
        if let Some(expires) = touch {
            self.count(MemcachedCount::Touch);
            self.db().expire(&key, expires.ttl(), |_| true)?;
        }
        let facts = Facts { is_used, ..self.facts(&key, &value, flags) };
        let freshness = value.freshness();
        let is_short =
            recache.is_some_and(|bound| facts.seconds_left >= 0 && facts.seconds_left < bound);
        let mut loading = Loading { is_stale: freshness.is_stale, ..Loading::default() };
        if freshness.is_being_loaded {
            loading.is_sent = true;
        } else if freshness.is_stale || is_short {
            loading.is_won = self.win(&key, value.version())?;
            loading.is_sent = !loading.is_won;
        }
        // A client that names the version that it already has needs no value.
        let is_known = compared.is_some_and(|token| token.names(value.version()));
        let data = (flags.has(b'v') && !is_known).then_some(bytes);
        head(output, data);
        returned(output, word, flags, &facts, FACTS_OF_GET);
        loading.write(output);
        end(output, data);
        Ok(())
    }

    /// Marks a value as being loaded, and returns whether this client should load it.
    fn win(&self, key: &[u8], version: Version) -> Result<bool, MemcachedError> {
        let won = self.db().change(key, Lifetime::Keep, ChangeKind::SET, |old| {
            let Some(old) = old else { return Ok(Decision::Keep(false)) };
            let freshness = old.freshness();
            if old.version() != version || freshness.is_being_loaded {
                return Ok(Decision::Keep(false));
            }
            let value = old.with_freshness(Freshness { is_being_loaded: true, ..freshness });
            Ok(Decision::Put(value, true))
        });
        Ok(won?)
    }

    /// Asks for the lease of a missing key, if the client wants it.
    fn ask_for_lease(&self, key: &Bytes, vivify: Option<i64>, explicit: Option<Version>) -> Asked {
        let Some(expires) = vivify.map(Expires::from_seconds) else { return Asked::Full };
        let time = match expires {
            Expires::After(time) => time,
            // A lease without an end would keep the key from being loaded if its holder dies.
            Expires::Never | Expires::Now => Duration::from_secs(1),
        };
        let stored = self.db().owned_key(key);
        self.leases().ask(self.shared.store.cache(), &stored, time, explicit)
    }

    fn meta_set(
        &self,
        word: &[u8],
        flags: &MetaFlags<'_>,
        data: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let key = flags.key(word)?;
        let expires = flags.expires(b'T')?.unwrap_or(Expires::Never);
        let client_flags = flags.number(b'F')?.unwrap_or_default();
        let compared = flags.number(b'C')?.map(CasToken::from_number);
        let explicit = flags.number(b'E')?.map(Version::from_number);
        let vivify = flags.expires(b'N')?;
        let value = Value::with_flags(data.into(), client_flags);
        let value = match explicit {
            Some(version) => value.with_version(version),
            None => value,
        };
        self.count(MemcachedCount::Set);
        let mode = flags.token(b'M').unwrap_or(b"S").to_ascii_uppercase();
        let mut facts = Facts::of(&value);
        let stored = match (mode.as_slice(), compared) {
            (b"A" | b"P", _) => {
                let side = if mode == b"A" { Side::After } else { Side::Before };
                self.meta_join(&key, data, side, compared, explicit, vivify, &value, &mut facts)?
            }
            (b"S" | b"R", Some(token)) => {
                let is_lenient = flags.has(b'I');
                self.meta_compare_and_set(&key, token, &value, expires, is_lenient)?
            }
            // A key that must be absent has no version to compare.
            (b"S" | b"R", None) | (b"E", _) => {
                let condition = match mode.as_slice() {
                    b"E" => SetCondition::IfAbsent,
                    b"R" => SetCondition::IfPresent,
                    _ => SetCondition::Always,
                };
                let lifetime = expires.lifetime();
                let is_set =
                    self.db().set(&key, value.clone(), lifetime, condition, ChangeKind::SET)?;
                if is_set { Storing::Done } else { Storing::Refused }
            }
            _ => return Err(MemcachedError::BadMode),
        };
        if stored == Storing::Done {
            self.leases().give_up(&self.db().owned_key(&key));
        }
        if stored != Storing::Done {
            // Not that of the entry which was found instead.
            facts.version = Some(Version::from_number(0));
        }
        finish(output, stored, word, flags, &facts, FACTS_OF_SET);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a client can ask for")]
    fn meta_join(
        &self,
        key: &Bytes,
        data: &[u8],
        side: Side,
        compared: Option<CasToken>,
        explicit: Option<Version>,
        vivify: Option<Expires>,
        value: &Value,
        facts: &mut Facts,
    ) -> Result<Storing, CommandError> {
        loop {
            let joined = |value: &Value| *facts = Facts::of(value);
            let stored = self.join(key, data, side, compared, explicit, joined)?;
            let (Storing::Refused, Some(expires)) = (stored, vivify) else { return Ok(stored) };
            // There was nothing to join it to, so it is stored alone; unless there is something now.
            let lifetime = expires.lifetime();
            let is_first = SetCondition::IfAbsent;
            if self.db().set(key, value.clone(), lifetime, is_first, ChangeKind::SET)? {
                return Ok(Storing::Done);
            }
        }
    }

    /// Stores a value if the token names the key's version or lease. If `is_lenient`, an older version is good
    /// enough, but the value is then stale: it lives no longer than the one that it replaces, and whoever was
    /// told to load a fresh one still is.
    fn meta_compare_and_set(
        &self,
        key: &Bytes,
        token: CasToken,
        value: &Value,
        expires: Expires,
        is_lenient: bool,
    ) -> Result<Storing, CommandError> {
        let stored_key = self.db().owned_key(key);
        if let Some(fill) = self.leases().take(&stored_key, token) {
            let options = match expires.ttl() {
                Some(ttl) => InsertOptions::new().ttl(ttl),
                None => InsertOptions::new(),
            };
            let cache = self.shared.store.cache();
            let stored = cache.complete_fill_with(fill, value.clone(), options).is_stored();
            self.leases().give_up(&stored_key);
            if stored {
                self.db().note(key, ChangeKind::SET);
            }
            return Ok(if stored { Storing::Done } else { Storing::NotFound });
        }
        loop {
            let stored = self.db().change(key, expires.lifetime(), ChangeKind::SET, |old| {
                let Some(old) = old else { return Ok(Decision::Keep(Storing::NotFound)) };
                Ok(match token.names(old.version()) {
                    true => Decision::Put(value.clone(), Storing::Done),
                    false => Decision::Keep(Storing::Exists),
                })
            })?;
            if stored != Storing::Exists || !is_lenient {
                return Ok(stored);
            }
            let stored = self.db().change(key, Lifetime::Keep, ChangeKind::SET, |old| {
                let Some(old) = old else { return Ok(Decision::Keep(Some(Storing::NotFound))) };
                if token.names(old.version()) {
                    // A client has written this version meanwhile, so the value is fresh.
                    return Ok(Decision::Keep(None));
                }
                if token.is_after(old.version()) {
                    return Ok(Decision::Keep(Some(Storing::Exists)));
                }
                let stale = Freshness { is_stale: true, ..old.freshness() };
                Ok(Decision::Put(value.with_freshness(stale), Some(Storing::Done)))
            })?;
            if let Some(stored) = stored {
                return Ok(stored);
            }
        }
    }

    fn meta_delete(
        &self,
        word: &[u8],
        flags: &MetaFlags<'_>,
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let key = flags.key(word)?;
        let compared = flags.number(b'C')?.map(CasToken::from_number);
        let explicit = flags.number(b'E')?.map(Version::from_number);
        let expires = flags.expires(b'T')?;
        let (invalidates, empties) = (flags.has(b'I'), flags.has(b'x'));
        let lifetime = match expires {
            Some(expires) if invalidates => expires.lifetime(),
            _ => Lifetime::Keep,
        };
        let stored = self.db().change(&key, lifetime, ChangeKind::SET, |old| {
            let Some(old) = old else { return Ok(Decision::Keep(Storing::NotFound)) };
            if compared.is_some_and(|token| !token.names(old.version())) {
                return Ok(Decision::Keep(Storing::Exists));
            }
            if !invalidates && !empties {
                return Ok(Decision::Remove(Storing::Done));
            }
            let value = if empties { Value::from(&b""[..]) } else { old.rewritten() };
            let value = match explicit {
                Some(version) => value.with_version(version),
                None => value,
            };
            let stale = Freshness { is_stale: true, is_being_loaded: false };
            let value = if invalidates { value.with_freshness(stale) } else { value };
            Ok(Decision::Put(value, Storing::Done))
        })?;
        self.leases().give_up(&self.db().owned_key(&key));
        self.count(match stored {
            Storing::Done => MemcachedCount::DeleteHits,
            _ => MemcachedCount::DeleteMisses,
        });
        finish(output, stored, word, flags, &Facts::default(), NO_FACTS);
        Ok(())
    }

    fn meta_arithmetic(
        &self,
        word: &[u8],
        flags: &MetaFlags<'_>,
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let key = flags.key(word)?;
        let compared = flags.number(b'C')?.map(CasToken::from_number);
        let explicit = flags.number(b'E')?.map(Version::from_number);
        let delta = match flags.token(b'D') {
            None => 1,
            Some(token) => number(token).ok_or(MemcachedError::BadDelta)?,
        };
        let initial: u64 = flags.number(b'J')?.unwrap_or_default();
        let vivify = flags.expires(b'N')?;
        let touch = flags.expires(b'T')?;
        let is_increment = match flags.token(b'M').unwrap_or(b"I") {
            b"I" | b"i" | b"+" => true,
            b"D" | b"d" | b"-" => false,
            _ => return Err(MemcachedError::BadMode),
        };
        let with_version = |value: Value| match explicit {
            Some(version) => value.with_version(version),
            None => value,
        };
        let (stored, value) = loop {
            let lifetime = touch.map_or(Lifetime::Keep, Expires::lifetime);
            let done = self.db().change(&key, lifetime, ChangeKind::string("incrby"), |old| {
                let Some(old) = old else { return Ok(Decision::Keep((Storing::NotFound, None))) };
                if compared.is_some_and(|token| !token.names(old.version())) {
                    return Ok(Decision::Keep((Storing::Exists, None)));
                }
                let sum = counted(old, is_increment, delta)?;
                let value = with_version(number_in_place_of(old, sum));
                Ok(Decision::Put(value.clone(), (Storing::Done, Some(value))))
            })?;
            let ((Storing::NotFound, _), Some(expires)) = (&done, vivify) else { break done };
            let text = initial.to_string().into_bytes();
            let value = with_version(Value::with_flags(text.into_boxed_slice(), 0));
            let (lifetime, is_first) = (expires.lifetime(), SetCondition::IfAbsent);
            let kind = ChangeKind::string("incrby");
            if self.db().set(&key, value.clone(), lifetime, is_first, kind)? {
                break (Storing::Done, Some(value));
            }
        };
        let is_hit = usize::from(stored == Storing::Done);
        self.count(match is_increment {
            true => [MemcachedCount::IncrMisses, MemcachedCount::IncrHits][is_hit],
            false => [MemcachedCount::DecrMisses, MemcachedCount::DecrHits][is_hit],
        });
        let Some(value) = value else {
            finish(output, stored, word, flags, &Facts::default(), NO_FACTS);
            return Ok(());
        };
        if flags.has(b'q') {
            return Ok(());
        }
        let facts = self.facts(&key, &value, flags);
        match value.as_bytes().filter(|_| flags.has(b'v')) {
            Some(bytes) => {
                head(output, Some(bytes));
                returned(output, word, flags, &facts, FACTS_OF_COUNT);
                end(output, Some(bytes));
            }
            None => finish(output, stored, word, flags, &facts, FACTS_OF_COUNT),
        }
        Ok(())
    }

    fn meta_debug(
        &self,
        word: &[u8],
        flags: &MetaFlags<'_>,
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let key = flags.key(word)?;
        let Some(value) = self.db().peek(&key) else {
            output.extend_from_slice(b"EN\r\n");
            return Ok(());
        };
        let facts = self.all_facts(&key, &value);
        output.extend_from_slice(b"ME ");
        output.extend_from_slice(word);
        let fetched = if facts.is_used { "yes" } else { "no" };
        let version = CasToken::of(value.version()).number();
        let (left, age, size) = (facts.seconds_left, facts.age_s, value.heap_bytes());
        let _ =
            write!(output, " exp={left} la={age} cas={version} fetch={fetched} size={size}\r\n");
        Ok(())
    }
}

impl Loading {
    fn write(self, output: &mut Vec<u8>) {
        for (is_set, flag) in [(self.is_won, b'W'), (self.is_stale, b'X'), (self.is_sent, b'Z')] {
            if is_set {
                output.extend_from_slice(&[b' ', flag]);
            }
        }
    }
}

/// The reply to a client that misses.
fn answer_miss(asked: Asked, word: &[u8], flags: &MetaFlags<'_>, output: &mut Vec<u8>) {
    let (version, loading) = match asked {
        Asked::Won(version) => (version, Loading { is_won: true, ..Loading::default() }),
        Asked::Sent(version) => (version, Loading { is_sent: true, ..Loading::default() }),
        Asked::Full | Asked::Present => {
            if !flags.has(b'q') {
                output.extend_from_slice(b"EN");
                returned(output, word, flags, &Facts::default(), NO_FACTS);
                output.extend_from_slice(b"\r\n");
            }
            return;
        }
    };
    let data = flags.has(b'v').then_some(&[][..]);
    let facts = Facts { version: Some(version), seconds_left: -1, ..Facts::default() };
    head(output, data);
    returned(output, word, flags, &facts, FACTS_OF_GET);
    loading.write(output);
    end(output, data);
}

/// The beginning of a reply to a command that found its key.
fn head(output: &mut Vec<u8>, data: Option<&[u8]>) {
    match data {
        Some(data) => {
            output.extend_from_slice(b"VA ");
            push_decimal(output, data.len());
        }
        None => output.extend_from_slice(b"HD"),
    }
}

/// The end of such a reply.
fn end(output: &mut Vec<u8>, data: Option<&[u8]>) {
    output.extend_from_slice(b"\r\n");
    if let Some(data) = data {
        output.extend_from_slice(data);
        output.extend_from_slice(b"\r\n");
    }
}

/// What `mg`, `ms` and `ma` return of an entry if asked; other commands return nothing.
const FACTS_OF_GET: &[u8] = b"cfhlst";
const FACTS_OF_SET: &[u8] = b"cs";
const FACTS_OF_COUNT: &[u8] = b"ct";
const NO_FACTS: &[u8] = b"";

/// What the flags ask to be returned, in their order, but of the facts only those in `said`. The key and the token of
/// the client are in each answer, so that it knows which of its requests is answered.
fn returned(output: &mut Vec<u8>, word: &[u8], flags: &MetaFlags<'_>, facts: &Facts, said: &[u8]) {
    for (flag, token) in flags.iter() {
        let _ = match flag {
            b'k' => {
                output.extend_from_slice(b" k");
                output.extend_from_slice(word);
                output.write_all(if flags.has(b'b') { b" b" } else { b"" })
            }
            b'O' => output.write_all(b" O").and_then(|()| output.write_all(token)),
            _ if !said.contains(&flag) => Ok(()),
            b'c' => match facts.version {
                Some(version) => write!(output, " c{}", CasToken::of(version).number()),
                None => Ok(()),
            },
            b'f' => write!(output, " f{}", facts.flags),
            b'h' => write!(output, " h{}", u8::from(facts.is_used)),
            b'l' => write!(output, " l{}", facts.age_s),
            b's' => write!(output, " s{}", facts.len),
            b't' => write!(output, " t{}", facts.seconds_left),
            _ => Ok(()),
        };
    }
}

/// The reply to a command without a value. The flag `q` suppresses it if all went well.
fn finish(
    output: &mut Vec<u8>,
    stored: Storing,
    word: &[u8],
    flags: &MetaFlags<'_>,
    facts: &Facts,
    said: &[u8],
) {
    if stored == Storing::Done && flags.has(b'q') {
        return;
    }
    output.extend_from_slice(match stored {
        Storing::Done => b"HD",
        Storing::Refused => b"NS",
        Storing::Exists => b"EX",
        Storing::NotFound => b"NF",
    });
    returned(output, word, flags, facts, said);
    output.extend_from_slice(b"\r\n");
}
