/** Writes aligned packed encoding (X.691) bit by bit, and the parts of H.323 messages that tests need. */
export class PerWriter {
  private readonly all: number[] = [];

  /** Each string is a run of bits. */
  bits(...runs: readonly string[]): this {
    for (const run of runs) for (const bit of run) this.all.push(bit === "1" ? 1 : 0);
    return this;
  }

  /** Aligned bytes. */
  bytes(...values: readonly number[]): this {
    while (this.all.length % 8 !== 0) this.all.push(0);
    for (const value of values) this.bits(value.toString(2).padStart(8, "0"));
    return this;
  }

  /** An open type, or an OCTET STRING of any size. */
  open(content: Uint8Array): this {
    if (content.length < 128) this.bytes(content.length);
    else this.bytes(0x80 | (content.length >>> 8), content.length & 0xff);
    return this.bytes(...content);
  }

  oid(): this {
    return this.bytes(6, 0, 8, 0x91, 0x4a, 0, 4);
  }

  /** TransportAddress of H.225.0: IPv4. */
  address(ip: string, port: number): this {
    return this.bits("0", "000").bytes(...ip.split(".").map(Number), port >>> 8, port & 0xff);
  }

  /** Unicast TransportAddress of H.245: IPv4. */
  media(ip: string, port: number): this {
    return this.bits("0", "0", "0", "000", "0").bytes(...ip.split(".").map(Number), port >>> 8, port & 0xff);
  }

  /** EndpointType: a terminal, and nothing said of it. */
  terminal(): this {
    return this.bits("0", "000001", "0", "0", "0", "0");
  }

  get data(): Uint8Array {
    const bits = [...this.all];
    while (bits.length % 8 !== 0) bits.push(0);
    return Uint8Array.from({ length: bits.length / 8 }, (_, i) =>
      Number.parseInt(bits.slice(i * 8, i * 8 + 8).join(""), 2),
    );
  }
}

type End = readonly [ip: string, port: number];

/** RegistrationRequest with the addresses of call signalling and of RAS; `life` is timeToLive less 1, a byte. */
export function registrationRequest(calls: readonly End[], own: readonly End[], life?: number): Uint8Array {
  const writer = new PerWriter()
    .bits("0", "00011", life === undefined ? "0" : "1", "000")
    .bytes(0, 1)
    .oid()
    .bits("1");
  for (const list of [calls, own]) {
    writer.bytes(list.length);
    for (const [ip, port] of list) writer.address(ip, port);
  }
  writer.terminal().bits("0", "00", "0").bytes(0xb5, 0, 0x12, 0x34);
  if (life === undefined) return writer.data;
  const keepAlive = Uint8Array.of(0x80);
  return writer.bits("0000101", "010001").open(Uint8Array.of(0, life)).open(keepAlive).data;
}

/** RegistrationConfirm; timeToLive as above. */
export function registrationConfirm([ip, port]: End, life?: number): Uint8Array {
  const writer = new PerWriter()
    .bits("0", "00100", life === undefined ? "0" : "1", "000")
    .bytes(0, 1)
    .oid();
  writer.bytes(1).address(ip, port).bits("0000000").bytes(0, 0x67);
  if (life === undefined) return writer.data;
  return writer.bits("0000101", "010001").open(Uint8Array.of(0, life)).open(Uint8Array.of(0x80)).data;
}

export function unregistrationRequest([ip, port]: End): Uint8Array {
  return new PerWriter().bits("0", "00110", "0", "000").bytes(0, 2).bytes(1).address(ip, port).data;
}

/** OpenLogicalChannel of G.711 audio, with mediaChannel. */
export function openChannel([ip, port]: End): Uint8Array {
  const parameters = new PerWriter().bits("0", "0010000000").bytes(1).media(ip, port).data;
  return new PerWriter()
    .bits("0", "0")
    .bytes(0, 100)
    .bits("0", "0", "0", "011", "0", "0001")
    .bytes(0x13)
    .bits("1", "0000000")
    .open(parameters).data;
}

/** A Q.931 message in its TPKT: CallProceeding with h245Address and fastStart. */
export function callProceeding(control: End, channels: readonly Uint8Array[] = []): Uint8Array {
  const writer = new PerWriter().bits("0", "0", "0", "0", "0", "001", channels.length > 0 ? "1" : "0", "1").oid();
  writer.terminal().address(...control);
  if (channels.length > 0) {
    const list = new PerWriter().bytes(channels.length);
    for (const channel of channels) list.open(channel);
    writer.bits("0000100", "00001").open(list.data);
  }
  const element = [5, ...writer.data];
  const body = [8, 2, 0, 1, 2, 0x7e, element.length >>> 8, element.length & 0xff, ...element];
  const length = body.length + 4;
  return Uint8Array.of(3, 0, length >>> 8, length & 0xff, ...body);
}
