/** Somebody who wants to know what happens to connections: ctnetlink (src/kernel/ctnetlink/ctnetlink.ts). */
export interface ConntrackListener {
  /**
   * False if nobody is subscribed: entries made now get no event cache when nf_conntrack_events is 2
   * (spec/ctnetlink N-110).
   */
  readonly listening: boolean;
  /**
   * Something happened. Called synchronously; the entry can be read until the call returns.
   * @param events 1 << IPCT_*, those cached included
   * @param portId requester, 0 for packets and the garbage collector
   * @param report NLM_F_ECHO: the requester wants it too
   */
  connection(slot: number, events: number, portId: number, report: boolean): void;
}
