//! Snapshots of caches: what is in one, whether it is whole, and its change of serializer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum, value_parser};
use comfy_table::Table;
use larder::snapshot::{Info, LoadOptions, SaveOptions, Serializers, convert_path};
use serde_json::json;

use crate::error::SnapshotFailure;

/// What to say of which snapshot.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The snapshot
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Say what can be said of a damaged snapshot, up to the damage
    #[arg(long)]
    salvage: bool,
}

/// What to copy how.
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
    /// The type of keys [default: as the snapshot says]
    #[arg(long, value_enum, value_name = "TYPE")]
    key: Option<KeyType>,
    /// The type of values [default: as the snapshot says]
    #[arg(long, value_enum, value_name = "TYPE")]
    value: Option<ValueType>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
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
    /// Anything at all, from JSON to JSON
    Json,
}

pub(crate) fn inspect(args: &InspectArgs) -> Result<String, SnapshotFailure> {
    let mut options = LoadOptions::new();
    if args.salvage {
        options = options.salvage();
    }
    let info = read(&args.file, &options)?;
    let saved_at = seconds_since_1970(info.saved_at);
    if args.json {
        let document = json!({
            "version": info.version,
            "serializer": info.serializer,
            "policy": info.policy,
            "types": info.types,
            "is_text": info.is_text,
            "is_packed": info.is_packed,
            "saved_at": saved_at,
            "entries": info.entries,
            "expiring": info.expiring,
            "expired": info.expired,
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
        ("saved at", format!("{saved_at:.3} s since 1970")),
        ("entries", info.entries.to_string()),
        ("with a deadline", format!("{}, {} of them past", info.expiring, info.expired)),
        ("weight", info.weight.to_string()),
        ("bytes, unpacked", info.bytes.to_string()),
        ("keys and values", format!("{} bytes", info.payload_bytes)),
        ("longest", format!("{} bytes", info.longest_bytes)),
    ] {
        // From a file: nothing in it may reach the terminal as it is.
        table.add_row([name.to_owned(), value.escape_debug().to_string()]);
    }
    if let Some(at) = info.damaged_at {
        table.add_row(["damaged".to_owned(), format!("from byte {at} on; counted up to there")]);
    }
    Ok(format!("{table}\n"))
}

pub(crate) fn verify(file: &Path) -> Result<(), SnapshotFailure> {
    read(file, &LoadOptions::new()).map(|_| ())
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
    let info = read(&args.from, &LoadOptions::new())?;
    let (key_name, value_name) = info.types.split_once(", ").unwrap_or(("", ""));
    let key = args.key.or_else(|| key_type(key_name));
    let value = args.value.or_else(|| value_type(value_name));
    let (Some(key), Some(value)) = (key, value) else {
        return Err(SnapshotFailure::UnknownTypes { types: info.types.escape_debug().to_string() });
    };
    macro_rules! by_value {
        ($key:ty) => {
            match value {
                ValueType::String => convert_path::<$key, String>,
                ValueType::Bytes => convert_path::<$key, Vec<u8>>,
                ValueType::U32 => convert_path::<$key, u32>,
                ValueType::U64 => convert_path::<$key, u64>,
                ValueType::I64 => convert_path::<$key, i64>,
                ValueType::F64 => convert_path::<$key, f64>,
                ValueType::Bool => convert_path::<$key, bool>,
                ValueType::Json => convert_path::<$key, serde_json::Value>,
            }
        };
    }
    let convert = match key {
        KeyType::String => by_value!(String),
        KeyType::U32 => by_value!(u32),
        KeyType::U64 => by_value!(u64),
        KeyType::I64 => by_value!(i64),
    };
    let saved = convert(&args.from, &args.to, &LoadOptions::new(), &save)
        .map_err(|source| SnapshotFailure::File { file: args.from.clone(), source })?;
    Ok(format!("{} entries, {} bytes unpacked\n", saved.entries, saved.bytes))
}

fn read(file: &Path, options: &LoadOptions) -> Result<Info, SnapshotFailure> {
    let failure = |source| SnapshotFailure::File { file: file.to_owned(), source };
    let opened = File::open(file).map_err(|error| failure(error.into()))?;
    Info::read(opened, options).map_err(failure)
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
