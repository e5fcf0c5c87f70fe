//! `heapfile create`: makes an empty arena.

use crate::units::{parse_mode, parse_size};
use crate::{Failure, Outcome, info};
use clap::ValueEnum;
use heapfile::{Durability, Error, Options};
use std::path::PathBuf;

/// Create an empty arena
///
/// Never overwrites: a file of that name is an error, unless it is empty or the remains of a creation that was cut off.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heapfile create my.heap\n  \
    heapfile create --durability process cache.heap\n  \
    heapfile create --log-size 64M --mode 660 shared.heap")]
pub(crate) struct Args {
    /// The file to create
    file: PathBuf,
    /// What commits survive; fixed for the life of the arena
    #[arg(long, value_enum, default_value = "power")]
    durability: Surviving,
    /// Length of the log (durability power only): 64K to 1G, a multiple of 4096
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "4M")]
    log_size: u64,
    /// Begin log records at multiples of this, 64 to 4096: 4096 for devices that can lose a whole sector when power fails
    /// while it is rewritten
    #[arg(long, value_name = "BYTES", value_parser = parse_align, default_value = "64")]
    log_align: u32,
    /// Most bytes that the file may have while this command has it open; not stored, each program sets its own
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "1T")]
    max_size: u64,
    /// Permissions of the file in octal, before the umask
    #[arg(long, value_parser = parse_mode, default_value = "600")]
    mode: u32,
    /// Describe the new arena as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Surviving {
    /// Loss of power: one flush of the disk per commit
    Power,
    /// The death of any process, not of the machine: no flush
    Process,
}

fn parse_align(text: &str) -> Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| "it is too large".to_owned())
}

pub(crate) fn run(args: Args) -> Outcome {
    let durability = match args.durability {
        Surviving::Power => Durability::Power,
        Surviving::Process => Durability::Process,
    };
    let arena = Options::new()
        .durability(durability)
        .log_size(args.log_size)
        .log_align(args.log_align)
        .max_size(args.max_size)
        .mode(args.mode)
        .create(&args.file)
        .map_err(|e| match e {
            Error::MaxSize { needed, max } => format!(
                "the arena needs {needed} bytes, and --max-size is {max}: give a larger one, or a smaller --log-size"
            )
            .into(),
            other => Failure::from(other),
        })?;
    info::show(&arena, args.json)
}
