//! TLS by the kernel: a socket whose records the kernel seals and opens is read, written and spliced like any other.
//!
//! The kernel takes over between two records, with the keys that rustls agreed on. What is not application data it
//! leaves to us: `close_notify` is sent in front of the FIN, and a read that meets such a record fails with `EIO`,
//! upon which the record is fetched by recvmsg(2) (Linux, Documentation/networking/tls.rst).
//!
//! Keys are never changed. Kernels before 6.14 cannot, so a browser's KeyUpdate ends its session, as does using our
//! own key up.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp, TlsCryptoInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, TlsGetRecordType, recvmsg, setsockopt};
use socket2::{MsgHdr, SockRef};

use crate::proto::kernel_tls::{KernelCipher, KernelCiphers, KernelKey, KernelKeys};
use crate::session::{Handover, Input, Offloaded, Side};

/// Bytes that one key seals at most: 2^24 records of full size, below the bound for AES-GCM of RFC 8446 section 5.5.
/// The kernel does not count.
const SEALED_BYTES_MAX: u64 = 1 << 38;

/// What a record costs beside its bytes, towards that bound.
const RECORD_BYTES: u64 = 32;

/// `TLS_SET_RECORD_TYPE` of `linux/tls.h`.
const SET_RECORD_TYPE: i32 = 1;

/// Warnings that are passed over on one connection, as many as rustls passes over (`TemperCounters`): whoever cancels
/// says so once, and each costs two system calls and brings nothing.
const WARNINGS_MAX: u8 = 4;

/// Record type and alerts of RFC 8446 sections 5.1 and 6.
const ALERT: u8 = 21;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const BAD_RECORD_MAC: [u8; 2] = [2, 20];
const UNEXPECTED_MESSAGE: [u8; 2] = [2, 10];
const INTERNAL_ERROR: [u8; 2] = [2, 80];
const USER_CANCELED: u8 = 90;

/// The ciphers that the kernel has, found out by giving it a key for each.
///
/// # Errors
///
/// Why there is no kernel TLS; `ENOENT` without its module.
pub fn probe() -> io::Result<KernelCiphers> {
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let ours = TcpStream::connect(listener.local_addr()?)?;
        listener.accept().map(|(theirs, _)| (ours, theirs))
    };
    let (ours, _theirs) = pair()?;
    attach(&ours)?;
    let works = |cipher: &KernelCipher| {
        let key =
            KernelKey { cipher: *cipher, key: &[7; 32][..key_bytes(*cipher)], iv: &[7; 12], sequence: 0 };
        pair().is_ok_and(|(ours, _theirs)| {
            attach(&ours).is_ok() && with_info(&key, |info| set_both(&ours, info, info)).is_ok()
        })
    };
    Ok(KernelCipher::ALL.into_iter().filter(works).collect())
}

/// A socket whose TLS is the kernel's.
#[derive(Debug, Default)]
pub(super) struct KernelTls {
    /// Towards [`SEALED_BYTES_MAX`]
    sealed: u64,
    /// Towards [`WARNINGS_MAX`]
    warnings: u8,
}

impl KernelTls {
    /// Takes over where `handover` stops, if the kernel can. The answer to the session comes with it.
    pub(super) fn take_over(
        socket: &impl AsFd,
        side: Side,
        handover: Handover,
    ) -> (Option<Box<Self>>, Input) {
        // Fails for a connection that has been half closed meanwhile.
        if attach(socket).is_err() {
            return (None, Input::Offloaded { side, outcome: Offloaded::Not(handover) });
        }
        let keys = handover.into_keys().map_err(io::Error::other);
        let outcome = match keys.and_then(|keys| set(socket, &keys)) {
            Ok(()) => Offloaded::Kernel,
            Err(error) => {
                // Nothing must leave in the clear, or under a key that is used elsewhere.
                let _ = SockRef::from(socket).shutdown(Shutdown::Both);
                Offloaded::Failed(error)
            }
        };
        (Some(Box::default()), Input::Offloaded { side, outcome })
    }

    /// Counts bytes that the socket is about to take.
    ///
    /// # Errors
    ///
    /// The key is used up.
    pub(super) fn count(&mut self, len: usize) -> io::Result<()> {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.sealed = self.sealed.saturating_add(len).saturating_add((len / 16_384 + 1) * RECORD_BYTES);
        if self.sealed > SEALED_BYTES_MAX {
            return Err(io::Error::other(
                "one TLS key has sealed as much as it may, and the kernel has no other",
            ));
        }
        Ok(())
    }

    /// What a read that failed means: nothing, when it has to be repeated.
    pub(super) fn read_failed(&mut self, socket: &impl AsFd, error: io::Error) -> Option<io::Result<Ended>> {
        match error.raw_os_error() {
            Some(libc::EIO) => match other_record(socket) {
                Ok(Some(ended)) => Some(Ok(ended)),
                Ok(None) => self.warned().err().map(|error| {
                    let _ = send_alert(socket, UNEXPECTED_MESSAGE);
                    Err(error)
                }),
                Err(error) => Some(Err(error)),
            },
            Some(libc::EBADMSG) => {
                // The kernel has marked the socket as broken, and would not send the alert.
                let _ = SockRef::from(socket).take_error();
                let _ = send_alert(socket, BAD_RECORD_MAC);
                Some(Err(error))
            }
            _ => Some(Err(error)),
        }
    }

    fn warned(&mut self) -> io::Result<()> {
        self.warnings += 1;
        if self.warnings > WARNINGS_MAX {
            return Err(io::Error::other("too many TLS warnings"));
        }
        Ok(())
    }

    /// Sends `close_notify` and FIN. False when the socket has no room yet.
    pub(super) fn shut_down(socket: &impl AsFd) -> bool {
        // A write may have been taken by the kernel and wait there, sealed, for room in the socket, and FIN would go
        // past it. Once there is room the next record pushes it out first.
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PollTimeout::ZERO) == Ok(0) {
            return false;
        }
        match send_alert(socket, CLOSE_NOTIFY) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // Otherwise the connection is gone, which reading tells.
            _ => {
                let _ = SockRef::from(socket).shutdown(Shutdown::Write);
                true
            }
        }
    }
}

/// The peer has said that nothing more comes.
#[derive(Debug)]
pub(super) struct Ended;

/// Takes the record that is no application data off the socket. None if it may be passed over.
fn other_record(socket: &impl AsFd) -> io::Result<Option<Ended>> {
    let mut content = [0; 256];
    let mut space = cmsg_space!(u8);
    let (len, record_type) = {
        let mut slices = [IoSliceMut::new(&mut content)];
        let fd = socket.as_fd().as_raw_fd();
        let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
        let record_type = message.cmsgs()?.find_map(|cmsg| match cmsg {
            ControlMessageOwned::TlsGetRecordType(record_type) => Some(record_type),
            _ => None,
        });
        (message.bytes, record_type)
    };
    match (record_type, &content[..len]) {
        (Some(TlsGetRecordType::Alert), [_, 0]) => Ok(Some(Ended)),
        (Some(TlsGetRecordType::Alert), [_, USER_CANCELED]) => Ok(None),
        (Some(TlsGetRecordType::Alert), [_, code]) => Err(io::Error::other(format!("TLS alert {code}"))),
        (Some(TlsGetRecordType::Handshake), _) => {
            let _ = send_alert(socket, INTERNAL_ERROR);
            Err(io::Error::other("TLS keys are to be changed, which the kernel's TLS does not do"))
        }
        _ => Err(io::Error::other("a TLS record of no known type")),
    }
}

fn send_alert(socket: &impl AsFd, alert: [u8; 2]) -> io::Result<()> {
    // `struct cmsghdr` with one byte, padded: its length without padding, level and type.
    let mut control = [0; size_of::<libc::cmsghdr>() + size_of::<usize>()];
    let (len, rest) = control.split_at_mut(size_of::<usize>());
    len.copy_from_slice(&(size_of::<libc::cmsghdr>() + 1).to_ne_bytes());
    rest[..4].copy_from_slice(&libc::SOL_TLS.to_ne_bytes());
    rest[4..8].copy_from_slice(&SET_RECORD_TYPE.to_ne_bytes());
    rest[8] = ALERT;
    let content = [IoSlice::new(&alert)];
    let message = MsgHdr::new().with_buffers(&content).with_control(&control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    SockRef::from(socket).sendmsg(&message, flags).map(|_| ())
}

fn attach(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, TcpUlp::default(), b"tls")?)
}

fn set(socket: &impl AsFd, keys: &KernelKeys) -> io::Result<()> {
    let (Some(send), Some(receive)) = (keys.send(), keys.receive()) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    with_info(&send, |send| with_info(&receive, |receive| set_both(socket, send, receive)))
}

fn set_both(socket: &impl AsFd, send: &TlsCryptoInfo, receive: &TlsCryptoInfo) -> io::Result<()> {
    setsockopt(socket, TcpTlsTx, send)?;
    Ok(setsockopt(socket, TcpTlsRx, receive)?)
}

fn key_bytes(cipher: KernelCipher) -> usize {
    if cipher == KernelCipher::Aes128Gcm { 16 } else { 32 }
}

/// Lends the key as the kernel wants it, and wipes it afterwards.
fn with_info(key: &KernelKey<'_>, lend: impl FnOnce(&TlsCryptoInfo) -> io::Result<()>) -> io::Result<()> {
    let mut info = info(key).ok_or(io::ErrorKind::InvalidInput)?;
    let result = lend(&info);
    match &mut info {
        TlsCryptoInfo::Aes128Gcm(info) => info.key.fill(0),
        TlsCryptoInfo::Aes256Gcm(info) => info.key.fill(0),
        TlsCryptoInfo::Chacha20Poly1305(info) => info.key.fill(0),
    }
    // Keeps the compiler from removing the stores above as dead.
    std::hint::black_box(&info);
    result
}

fn info(key: &KernelKey<'_>) -> Option<TlsCryptoInfo> {
    let info = |cipher_type| libc::tls_crypto_info { version: libc::TLS_1_3_VERSION, cipher_type };
    let rec_seq = key.sequence.to_be_bytes();
    // What the kernel calls salt and iv is the one iv of TLS 1.3.
    Some(match key.cipher {
        KernelCipher::Aes128Gcm => TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
            info: info(libc::TLS_CIPHER_AES_GCM_128),
            iv: key.iv.get(4..)?.try_into().ok()?,
            key: key.key.try_into().ok()?,
            salt: key.iv.get(..4)?.try_into().ok()?,
            rec_seq,
        }),
        KernelCipher::Aes256Gcm => TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
            info: info(libc::TLS_CIPHER_AES_GCM_256),
            iv: key.iv.get(4..)?.try_into().ok()?,
            key: key.key.try_into().ok()?,
            salt: key.iv.get(..4)?.try_into().ok()?,
            rec_seq,
        }),
        KernelCipher::Chacha20Poly1305 => {
            TlsCryptoInfo::Chacha20Poly1305(libc::tls12_crypto_info_chacha20_poly1305 {
                info: info(libc::TLS_CIPHER_CHACHA20_POLY1305),
                iv: key.iv.try_into().ok()?,
                key: key.key.try_into().ok()?,
                salt: [],
                rec_seq,
            })
        }
    })
}

/// Whether a probe's failure is only that the kernel has no such module.
#[must_use]
pub fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_up_before_its_bound() {
        let mut tls = KernelTls::default();
        let step = 1 << 30;
        let steps = (0..).take_while(|_| tls.count(step).is_ok()).count();
        assert!((250..256).contains(&steps), "{steps} GiB");
        // Bytes that come alone cost a record each.
        let mut tls = KernelTls { sealed: SEALED_BYTES_MAX - 2 * (RECORD_BYTES + 1), warnings: 0 };
        assert!(tls.count(1).is_ok() && tls.count(1).is_ok() && tls.count(1).is_err());
    }

    #[test]
    fn a_few_warnings_are_passed_over() {
        let mut tls = KernelTls::default();
        assert_eq!((0..).take_while(|_| tls.warned().is_ok()).count(), 4);
    }

    #[test]
    fn keys_of_the_wrong_length_are_no_keys() {
        for cipher in KernelCipher::ALL {
            let good = KernelKey { cipher, key: &[1; 32][..key_bytes(cipher)], iv: &[2; 12], sequence: 3 };
            assert!(info(&good).is_some());
            assert!(info(&KernelKey { key: &[1; 24], ..good }).is_none());
        }
    }
}
