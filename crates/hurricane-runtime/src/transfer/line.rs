//! A connection to the door of another process's nodes, for the pieces of one object at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hurricane_core::frame::{self, Decoder};
use hurricane_core::member::{MAX_ADDRESSES, NodePlace, Piece, Read};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::pull::Pieces;
use crate::framed::MAX_MEMBER_FRAME_BYTES;
use crate::greeting::{Greeting, GreetingError, Side, greet_scheduler};
use crate::identity::{KeyPair, PublicKey};
use crate::platform::fork::HiddenFromChildren;
use crate::platform::tcp;
use crate::tls::{self, HandshakeError, Pin, Purpose, Secured};

/// How much is read at once: a TLS record or some.
const READ_BYTES: usize = 64 << 10;

/// Of how many addresses a node is dialed: all that it may name, and the one that its scheduler adds.
const MAX_DIALED: usize = MAX_ADDRESSES + 1;

/// How soon a holder is dialed again that has closed the connection: its door takes few handshakes
/// of one device at a time.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How often.
const MAX_TRIES: u32 = 5;

type Hidden = HiddenFromChildren<TcpStream>;

/// A connection to a holder of objects.
pub(super) struct Line {
    stream: Secured<Hidden>,
    decoder: Decoder,
    /// Questions that were not written yet.
    outgoing: Vec<u8>,
    asked: u64,
    /// Whether it was of use before: then it may have ended since.
    pub(super) is_used: bool,
}

impl Line {
    /// Dials a node at all its addresses at once; the first where it shows its key is taken.
    pub(super) async fn dial(own: &KeyPair, place: &NodePlace, key: PublicKey) -> Option<Self> {
        let config = tls::dialing(own, Pin::Key(key), Purpose::Main);
        let mut dials = JoinSet::new();
        let addresses = place.addresses.iter().filter_map(|text| text.parse().ok());
        for address in addresses.take(MAX_DIALED) {
            dials.spawn_local(reach(address, Arc::clone(&config)));
        }
        while let Some(dialed) = dials.join_next().await {
            if let Ok(Some(stream)) = dialed {
                return Some(Self::over(stream));
            }
        }
        None
    }

    fn over(stream: Secured<Hidden>) -> Self {
        Self {
            stream,
            decoder: Decoder::new(MAX_MEMBER_FRAME_BYTES),
            outgoing: Vec::new(),
            asked: 0,
            is_used: false,
        }
    }

    async fn exchange(&mut self) -> io::Result<Option<Piece>> {
        if !self.outgoing.is_empty() {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.flush().await?;
            self.outgoing.clear();
        }
        loop {
            match self.decoder.next_message() {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            let buffer = self.decoder.buffer();
            buffer.reserve(READ_BYTES);
            if self.stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl Pieces for Line {
    fn next_request(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    fn ask(&mut self, read: Read) {
        frame::encode(&read, &mut self.outgoing);
    }

    async fn next(&mut self) -> Option<Piece> {
        self.exchange().await.ok().flatten()
    }
}

/// A connection to one address, if the node with the pinned key answers there.
async fn reach(address: SocketAddr, config: Arc<ClientConfig>) -> Option<Secured<Hidden>> {
    for _ in 0..MAX_TRIES {
        let stream = TcpStream::connect(address).await.ok()?;
        match greeted(stream, Arc::clone(&config)).await {
            Ok(stream) => return Some(stream),
            // Too many came at once.
            Err(GreetingError::Handshake(HandshakeError::Cut(_))) => {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(_) => return None,
        }
    }
    None
}

async fn greeted(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<Secured<Hidden>, GreetingError> {
    // Without that it is slower.
    let _ = tcp::prepare(&stream);
    let mut stream = tls::connect(config, HiddenFromChildren::new(stream)).await?;
    greet_scheduler(&mut stream, &Greeting::own(Side::Fetcher, None)).await?;
    Ok(stream)
}
