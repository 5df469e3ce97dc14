//! Snapshots of caches: inspects, verifies, converts and dumps them.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueEnum, value_parser};
use comfy_table::Table;
use larder::snapshot::{Info, Records, RestoreOptions, SaveOptions, Serializers, convert_path};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use serde_json::value::RawValue;

use crate::error::{CommandError, SnapshotFailure};

/// Limits on the snapshots to read. A snapshot that exceeds one is not necessarily damaged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Refuse records of more bytes [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    max_record_bytes: Option<u64>,
    /// Refuse packed snapshots that unpack to more than a MiB plus N times their size
    /// [default: 256]
    #[arg(long, value_name = "N")]
    max_expansion: Option<u32>,
}

impl LimitArgs {
    fn options(&self) -> RestoreOptions {
        let mut options = RestoreOptions::new();
        if let Some(bytes) = self.max_record_bytes {
            options = options.max_record_bytes(bytes);
        }
        if let Some(times) = self.max_expansion {
            options = options.max_expansion(times);
        }
        options
    }
}

/// The types of the entries of a snapshot.
#[derive(Debug, Args)]
struct TypeArgs {
    /// The type of keys [default: the type that the snapshot names]
    #[arg(long, value_enum, value_name = "TYPE")]
    key: Option<KeyType>,
    /// The type of values [default: the type that the snapshot names]
    #[arg(long, value_enum, value_name = "TYPE")]
    value: Option<ValueType>,
}

/// Which snapshot to check.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The snapshot
    file: PathBuf,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Which entries to write.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The snapshot
    file: PathBuf,
    #[command(flatten)]
    types: TypeArgs,
    /// Write the readable entries of a damaged snapshot, and fail afterwards
    #[arg(long)]
    salvage: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Which snapshot to describe, and how.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The snapshot
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Describe a damaged snapshot up to the damage
    #[arg(long)]
    salvage: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Which snapshot to copy, and how.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The snapshot to read
    from: PathBuf,
    /// The snapshot to write
    to: PathBuf,
    /// The serializer to write with: bincode, json or postcard
    #[arg(long, value_name = "NAME")]
    serializer: String,
    /// Pack it with Zstandard, at a level from 1 to 19
    #[arg(long, value_name = "LEVEL", value_parser = value_parser!(i32).range(1..=19))]
    zstd: Option<i32>,
    #[command(flatten)]
    types: TypeArgs,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyType {
    String,
    U32,
    U64,
    I64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ValueType {
    String,
    /// A list of bytes
    Bytes,
    U32,
    U64,
    I64,
    F64,
    Bool,
    /// Any value, from JSON to JSON
    Json,
}

/// The instance of a function for a type of keys and one of values; `$float` stands for `f64`.
macro_rules! for_types {
    ($function:ident, $float:ty, $key:expr, $value:expr) => {
        match $key {
            KeyType::String => for_types!(@value $function, $float, String, $value),
            KeyType::U32 => for_types!(@value $function, $float, u32, $value),
            KeyType::U64 => for_types!(@value $function, $float, u64, $value),
            KeyType::I64 => for_types!(@value $function, $float, i64, $value),
        }
    };
    (@value $function:ident, $float:ty, $key:ty, $value:expr) => {
        match $value {
            ValueType::String => $function::<$key, String>,
            ValueType::Bytes => $function::<$key, Vec<u8>>,
            ValueType::U32 => $function::<$key, u32>,
            ValueType::U64 => $function::<$key, u64>,
            ValueType::I64 => $function::<$key, i64>,
            ValueType::F64 => $function::<$key, $float>,
            ValueType::Bool => $function::<$key, bool>,
            ValueType::Json => $function::<$key, serde_json::Value>,
        }
    };
}

pub(crate) fn inspect(args: &InspectArgs) -> Result<String, SnapshotFailure> {
    let mut options = args.limits.options();
    if args.salvage {
        options = options.salvage();
    }
    let info = Info::read_path(&args.file, &options)?;
    let saved_at = date(info.saved_at);
    if args.json {
        let document = json!({
            "version": info.version,
            "serializer": info.serializer,
            "policy": info.policy,
            "types": info.types,
            "is_text": info.is_text,
            "is_packed": info.is_packed,
            "saved_at": seconds_since_1970(info.saved_at),
            "saved_at_date": saved_at,
            "entries": info.entries,
            "expiring": info.expiring,
            "expired": info.expired,
            "tagged": info.tagged,
            "weight": info.weight,
            "payload_bytes": info.payload_bytes,
            "longest_bytes": info.longest_bytes,
            "bytes": info.bytes,
            "damaged_at": info.damaged_at,
        });
        return Ok(format!("{}\n", serde_json::to_string_pretty(&document)?));
    }
    let mut table = Table::new();
    let form = match (info.is_text, info.is_packed) {
        (true, false) => "text",
        (false, false) => "binary",
        (true, true) => "text, packed",
        (false, true) => "binary, packed",
    };
    for (name, value) in [
        ("format", format!("{} ({form})", info.version)),
        ("serializer", info.serializer.clone()),
        ("policy", info.policy.clone()),
        ("types", info.types.clone()),
        ("saved at", saved_at),
        ("entries", info.entries.to_string()),
        ("with a deadline", format!("{}, {} of them past", info.expiring, info.expired)),
        ("with tags", info.tagged.to_string()),
        ("weight", info.weight.to_string()),
        ("bytes, unpacked", info.bytes.to_string()),
        ("keys and values", format!("{} bytes", info.payload_bytes)),
        ("longest", format!("{} bytes", info.longest_bytes)),
    ] {
        // The values come from a file, so they are escaped for the terminal.
        table.add_row([name.to_owned(), value.escape_debug().to_string()]);
    }
    if let Some(at) = info.damaged_at {
        table.add_row(["damaged".to_owned(), format!("from byte {at} on; counted up to there")]);
    }
    Ok(format!("{table}\n"))
}

pub(crate) fn verify(args: &VerifyArgs) -> Result<(), SnapshotFailure> {
    Info::read_path(&args.file, &args.limits.options())?;
    Ok(())
}

pub(crate) fn convert(args: &ConvertArgs) -> Result<String, SnapshotFailure> {
    if !args.force && args.to.exists() {
        return Err(SnapshotFailure::Exists { file: args.to.clone() });
    }
    let serializer = Serializers::standard().get(&args.serializer)?;
    let mut save = SaveOptions::new(serializer);
    if let Some(level) = args.zstd {
        save = save.zstd(level);
    }
    let load = args.limits.options();
    let info = Info::read_path(&args.from, &load)?;
    let (key, value) = types(&info, &args.types)?;
    let convert = for_types!(convert_path, f64, key, value);
    let saved = convert(&args.from, &args.to, &load, &save)?;
    Ok(format!("{} entries, {} bytes unpacked\n", saved.entries, saved.bytes))
}

/// The requested types, or else those that the snapshot names.
fn types(info: &Info, given: &TypeArgs) -> Result<(KeyType, ValueType), SnapshotFailure> {
    let (key_name, value_name) = info.types.split_once(", ").unwrap_or(("", ""));
    let said = (key_type(key_name), value_type(value_name));
    // Other serializers do not record types and would read the bytes of one number as another.
    let is_json = info.serializer == "json";
    let other = |what, name: &str| SnapshotFailure::OtherType {
        what,
        says: name.escape_debug().to_string(),
        serializer: info.serializer.escape_debug().to_string(),
    };
    if !is_json && given.key.zip(said.0).is_some_and(|(given, said)| given != said) {
        return Err(other("key", key_name));
    }
    if !is_json && given.value.zip(said.1).is_some_and(|(given, said)| given != said) {
        return Err(other("value", value_name));
    }
    match (given.key.or(said.0), given.value.or(said.1)) {
        (Some(key), Some(value)) => Ok((key, value)),
        _ => Err(SnapshotFailure::UnknownTypes { types: info.types.escape_debug().to_string() }),
    }
}

/// Writes the entries of a snapshot to `out`, one per line.
pub(crate) fn dump(args: &DumpArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut options = args.limits.options();
    if args.salvage {
        options = options.salvage();
    }
    // The whole file is checked first, so that nothing is written if it is damaged.
    let info = Info::read_path(&args.file, &options).map_err(SnapshotFailure::from)?;
    let is_text =
        info.serializer == "json" && args.types.key.is_none() && args.types.value.is_none();
    if is_text {
        // JSON is copied as it is, whatever the types are.
        return dump_as::<Box<RawValue>, Box<RawValue>>(&args.file, &options, out);
    }
    let (key, value) = types(&info, &args.types)?;
    let dump = for_types!(dump_as, JsonFloat, key, value);
    dump(&args.file, &options, out)
}

/// A float, written as a string if it is not finite.
#[derive(Deserialize)]
struct JsonFloat(f64);

impl Serialize for JsonFloat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

/// A line of a dump.
#[derive(Serialize)]
struct DumpedEntry<K, V> {
    key: K,
    value: V,
    expires_at: Option<String>,
    expires_in_s: Option<f64>,
    has_expired: bool,
    tags: Vec<String>,
    weight: u32,
    frequency: u8,
}

fn dump_as<K, V>(
    file: &Path,
    options: &RestoreOptions,
    out: &mut dyn Write,
) -> Result<(), CommandError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let records = Records::<K, V>::read_path(file, options).map_err(SnapshotFailure::from)?;
    let (saved_at, now) = (records.saved_at(), SystemTime::now());
    let mut out = BufWriter::new(out);
    let mut failure = None;
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                // Only when salvaging do records follow an error.
                failure.get_or_insert(error);
                continue;
            }
        };
        let expires_at = record.expires_in.map(|left| saved_at + left);
        let line = DumpedEntry {
            key: record.key,
            value: record.value,
            expires_at: expires_at.map(date),
            expires_in_s: record.expires_in.map(|left| left.as_secs_f64()),
            has_expired: expires_at.is_some_and(|at| at <= now),
            tags: record.tags,
            weight: record.weight,
            frequency: record.frequency,
        };
        let line = serde_json::to_string(&line).map_err(SnapshotFailure::from)?;
        writeln!(out, "{line}").map_err(CommandError::write("standard output"))?;
    }
    out.flush().map_err(CommandError::write("standard output"))?;
    match failure {
        None => Ok(()),
        Some(source) => Err(SnapshotFailure::File { file: file.to_owned(), source }.into()),
    }
}

/// A date and a time of day in the form of RFC 3339.
fn date(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn key_type(name: &str) -> Option<KeyType> {
    Some(match name {
        "alloc::string::String" | "&str" => KeyType::String,
        "u32" => KeyType::U32,
        "u64" => KeyType::U64,
        "i64" => KeyType::I64,
        _ => return None,
    })
}

fn value_type(name: &str) -> Option<ValueType> {
    Some(match name {
        "alloc::string::String" | "&str" => ValueType::String,
        "alloc::vec::Vec<u8>" => ValueType::Bytes,
        "u32" => ValueType::U32,
        "u64" => ValueType::U64,
        "i64" => ValueType::I64,
        "f64" => ValueType::F64,
        "bool" => ValueType::Bool,
        "serde_json::value::Value" => ValueType::Json,
        _ => return None,
    })
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
