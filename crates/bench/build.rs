//! Compiles the adapters of the peers that are there. A peer that is not leaves its reason in an environment
//! variable, which the bench prints: a peer is named as missing, never silently left out.
//!
//! `HEAPFILE_BENCH_WITHOUT=boost,pmdk` pretends that the named peers are missing.

use std::env;
use std::fs;
use std::path::PathBuf;

struct Peer {
    name: &'static str,
    /// The adapter; none where the library is called from Rust.
    source: Option<&'static str>,
    cpp: bool,
    /// The smallest program that compiles only when the peer's headers are there.
    probe: &'static str,
    /// Library to link, and its file.
    link: Option<&'static str>,
    package: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "boost",
        source: Some("adapters/boost.cpp"),
        cpp: true,
        probe: "#include <boost/interprocess/managed_mapped_file.hpp>\nint probe() { return 0; }\n",
        link: None,
        package: "libboost-dev",
    },
    Peer {
        name: "pmdk",
        source: Some("adapters/pmdk.c"),
        cpp: false,
        probe: "#include <libpmemobj.h>\nint main(void) { return pmemobj_check_version(1, 0) == 0; }\n",
        link: Some("pmemobj"),
        package: "libpmemobj-dev",
    },
    Peer {
        name: "gdbm",
        source: None,
        cpp: false,
        probe: "#include <gdbm.h>\nint main(void) { return gdbm_version == 0; }\n",
        link: Some("gdbm"),
        package: "libgdbm-dev",
    },
];

fn main() {
    println!("cargo::rerun-if-env-changed=HEAPFILE_BENCH_WITHOUT");
    println!("cargo::rerun-if-changed=adapters");
    println!("cargo::rerun-if-changed=build.rs");
    let without = env::var("HEAPFILE_BENCH_WITHOUT").unwrap_or_default();
    for peer in &PEERS {
        let Peer { name, package, .. } = peer;
        println!("cargo::rustc-check-cfg=cfg(have_{name})");
        let pretended = without.split(',').any(|w| w.trim() == *name);
        let missing = if pretended {
            Some("left out by HEAPFILE_BENCH_WITHOUT".to_owned())
        } else if !probe(peer) {
            Some(format!(
                "its headers were not found at build time (Debian: apt-get install {package}, then touch build.rs)"
            ))
        } else {
            if let Some(source) = peer.source {
                adapter(peer, source).compile(&format!("{name}_adapter"));
            }
            if let Some(lib) = peer.link {
                println!("cargo::rustc-link-lib={lib}");
            }
            println!("cargo::rustc-cfg=have_{name}");
            None
        };
        println!(
            "cargo::rustc-env=HEAPFILE_BENCH_MISSING_{}={}",
            name.to_uppercase(),
            missing.unwrap_or_default()
        );
    }
}

fn adapter(peer: &Peer, source: &str) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(peer.cpp).file(source).include("adapters").define("NDEBUG", None).opt_level(3);
    build.flag_if_supported("-Wno-unused-parameter").flag_if_supported("-Wno-deprecated-declarations");
    if peer.cpp {
        build.std("c++17");
    }
    build
}

/// Compiles the probe and, for a library, links it.
fn probe(peer: &Peer) -> bool {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let source = out.join(format!("probe_{}.{}", peer.name, if peer.cpp { "cpp" } else { "c" }));
    fs::write(&source, peer.probe).expect("OUT_DIR can be written");
    let Ok(compiler) = cc::Build::new().cpp(peer.cpp).cargo_warnings(false).try_get_compiler() else {
        return false;
    };
    let mut command = compiler.to_command();
    command.arg(&source).arg("-o").arg(out.join(format!("probe_{}.out", peer.name)));
    match peer.link {
        Some(lib) => command.arg(format!("-l{lib}")),
        None => command.arg("-c"),
    };
    quiet(command)
}

fn quiet(mut command: std::process::Command) -> bool {
    use std::process::Stdio;
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}
