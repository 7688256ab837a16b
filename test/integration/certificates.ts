import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/** A certificate and its key, in PEM. */
interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  /** A certificate for a server of these host names, or for a client of that user. */
  issue(subject: { user: string } | { hosts: readonly string[] }): Certificate;
}

/** A certificate authority of a test's own: neither Node nor npm alone makes certificates. */
export function createAuthority(name: string): Authority {
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const isAuthority = extension("551d13", sequence(der(0x01, Buffer.from([0xff]))));
  const own = certificate({ subject: name, issuer: name, ...keys, signer: keys.privateKey }, [
    isAuthority,
  ]);
  return {
    ...own,
    issue: (subject) => {
      const issued = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const hosts = "hosts" in subject ? subject.hosts : [];
      const names = hosts.map((host) => der(0x82, Buffer.from(host)));
      return certificate(
        {
          subject: "user" in subject ? subject.user : "server",
          issuer: name,
          ...issued,
          signer: keys.privateKey,
        },
        names.length > 0 ? [extension("551d11", sequence(...names))] : [],
      );
    },
  };
}

interface Content {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly signer: KeyObject;
}

const DAY_MS = 86_400_000;
const ECDSA_WITH_SHA256 = sequence(objectId("2a8648ce3d040302"));

/** X.509 version 3, as of RFC 5280. */
function certificate(content: Content, extensions: readonly Buffer[]): Certificate {
  const { subject, issuer, publicKey, privateKey, signer } = content;
  const now = Date.now();
  const toSign = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ECDSA_WITH_SHA256,
    commonName(issuer),
    sequence(time(now - DAY_MS), time(now + DAY_MS)),
    commonName(subject),
    publicKey.export({ type: "spki", format: "der" }),
    ...(extensions.length > 0 ? [der(0xa3, sequence(...extensions))] : []),
  );
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", toSign, signer)]);
  const whole = sequence(toSign, ECDSA_WITH_SHA256, der(0x03, signature));
  const lines = whole
    .toString("base64")
    .match(/.{1,64}/g)
    ?.join("\n");
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const long = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  const size = length < 0x80 ? [length] : long;
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function objectId(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function commonName(name: string): Buffer {
  return sequence(der(0x31, sequence(objectId("550403"), der(0x0c, Buffer.from(name)))));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(objectId(id), der(0x04, value));
}

function time(at: number): Buffer {
  const text = new Date(at).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return der(0x17, Buffer.from(text.slice(2)));
}
