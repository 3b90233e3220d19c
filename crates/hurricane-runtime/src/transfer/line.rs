//! A connection to the door of another process's nodes, for the pieces of one object at a time.

use std::io;
use std::net::SocketAddr;

use hurricane_core::frame::{self, Decoder};
use hurricane_core::id::NodeId;
use hurricane_core::member::{NodePlace, Piece, Read};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::pull::Pieces;
use crate::framed::MAX_MEMBER_FRAME_BYTES;
use crate::greeting::{Greeting, Side, greet_scheduler};
use crate::identity::{KeyPair, PublicKey};
use crate::tls::{self, Pin, Purpose, Secured};

/// How much is read at once: a TLS record or some.
const READ_BYTES: usize = 64 << 10;

/// A connection to a holder of objects.
pub(super) struct Line {
    stream: Secured<TcpStream>,
    decoder: Decoder,
    /// Questions that were not written yet.
    outgoing: Vec<u8>,
    asked: u64,
    pub(super) holder: NodeId,
    /// Whether it was of use before: then it may have ended since.
    pub(super) is_used: bool,
}

impl Line {
    /// Dials a node at all its addresses at once; the first where it shows its key is taken.
    pub(super) async fn dial(own: &KeyPair, place: &NodePlace, key: PublicKey) -> Option<Self> {
        let config = tls::dialing(own, Pin::Key(key), Purpose::Main);
        let mut dials = JoinSet::new();
        for address in place.addresses.iter().filter_map(|text| text.parse().ok()) {
            dials.spawn_local(reach(address, config.clone()));
        }
        while let Some(dialed) = dials.join_next().await {
            if let Ok(Some(stream)) = dialed {
                return Some(Self::over(stream, place.node));
            }
        }
        None
    }

    fn over(stream: Secured<TcpStream>, holder: NodeId) -> Self {
        Self {
            stream,
            decoder: Decoder::new(MAX_MEMBER_FRAME_BYTES),
            outgoing: Vec::new(),
            asked: 0,
            holder,
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
async fn reach(
    address: SocketAddr,
    config: std::sync::Arc<rustls::ClientConfig>,
) -> Option<Secured<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let mut stream = tls::connect(config, stream).await.ok()?;
    greet_scheduler(&mut stream, &Greeting::own(Side::Fetcher, None)).await.ok()?;
    Some(stream)
}
