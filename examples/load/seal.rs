//! What the cipher alone costs: the floor under TLS.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::Outcome;
use crate::args::Args;

/// Records between two looks at the clock.
const BATCH: usize = 64;

/// Seals records in place until the window is over, by this thread's own clock of CPU time.
pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let key = UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).map_err(|_| "the cipher takes no such key")?;
    let key = LessSafeKey::new(key);
    let mut record = vec![0x5a; args.bytes];
    let (begun, mut bytes, mut number) = (cpu_s()?, 0, 0_u64);
    let used = loop {
        for _ in 0..BATCH {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&number.to_be_bytes());
            number += 1;
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = key.seal_in_place_separate_tag(nonce, Aad::from([0x17; 5]), &mut record);
            let _tag = sealed.map_err(|_| "the cipher failed")?;
        }
        bytes += BATCH * args.bytes;
        let used = cpu_s()? - begun;
        if used >= args.window.as_secs_f64() {
            break used;
        }
    };
    Ok(json!({ "bytes": bytes, "cpu_s_per_gb": used / (bytes as f64 / 1e9) }))
}

fn cpu_s() -> Outcome<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
