//! Network Block Device: the protocol, a server and a client.
