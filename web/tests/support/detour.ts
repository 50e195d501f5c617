import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Service } from "./service";

/** A way to a service that can be cut, or lose what is sent, while the service lives on. */
export class Detour {
  readonly #server: Server;
  readonly #ways = new Set<Way>();
  #isAsleep = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(service: Service): Promise<Detour> {
    const server = createServer();
    const detour = new Detour(server);
    server.on("connection", (client) => detour.#connect(client, service.port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    Service.origins.add(detour.url);
    return detour;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many streams are open. */
  get streams(): number {
    return [...this.#ways].filter(({ isStream }) => isStream).length;
  }

  /** Ends all connections, as a server does that was killed; new ones are made as before. */
  cut(): void {
    for (const { client, server } of this.#ways) {
      client.resetAndDestroy();
      server.destroy();
    }
    this.#ways.clear();
  }

  /** Nothing arrives any more, and nobody is told. */
  sleep(): void {
    this.#isAsleep = true;
    for (const way of this.#ways) way.isDead = true;
  }

  /** New connections work; those from before the sleep stay dead. */
  wake(): void {
    this.#isAsleep = false;
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #connect(client: Socket, port: number): void {
    const way: Way = {
      client,
      server: connect(port, "127.0.0.1"),
      isDead: this.#isAsleep,
      isStream: false,
    };
    this.#ways.add(way);
    const [from, to] = [new URL(this.url).host, `127.0.0.1:${port}`];
    // The service answers to its own name only. All ports here have five digits.
    const named = (part: Buffer) => part.toString("latin1").replaceAll(from, to);
    client.on("data", (part) => {
      way.isStream ||= part.includes("GET /api/v1/stream ");
      if (!way.isDead) way.server.write(named(part), "latin1");
    });
    way.server.on("data", (part) => way.isDead || client.write(part));
    const end = () => {
      this.#ways.delete(way);
      client.destroy();
      way.server.destroy();
    };
    for (const socket of [client, way.server]) socket.on("close", end).on("error", end);
  }
}

interface Way {
  client: Socket;
  server: Socket;
  isDead: boolean;
  isStream: boolean;
}
