//! Reports on replays, simulations and traces: tables for people, JSON and CSV for programs.
//!
//! The structs are the documentation of `--json`: a field's name carries its unit, and fields may
//! be added but are never renamed or removed.

// A row for each result.
mod csv;
// The results of `larder replay`.
mod replay;
// Tables of what `larder simulate` has found.
mod measures;
// The results of `larder simulate`.
mod simulation;
// A trace without its requests, and the results of `larder info`.
mod trace_info;
// The capacity of each result.
mod capacity;
// The form of all tables.
mod table;

pub(crate) use self::csv::{Rows, csv};
pub(crate) use self::measures::{Measure, measure_table, summary_table};
pub(crate) use self::replay::{Replay, ReplayReport, TraceReplay, replay_table};
pub(crate) use self::simulation::{SimulateReport, Simulation, TraceSimulation};
pub(crate) use self::trace_info::{TraceInfo, info_table};
