// A client of generic netlink in Go, whose runtime calls the kernel itself: for test/integration/seccomp.test.ts.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

func request(seq uint32, name string) []byte {
	attribute := 4 + len(name) + 1
	b := make([]byte, (20+attribute+3)&^3)
	binary.LittleEndian.PutUint32(b[0:], uint32(len(b)))
	binary.LittleEndian.PutUint16(b[4:], 16) // GENL_ID_CTRL
	binary.LittleEndian.PutUint16(b[6:], 1)  // NLM_F_REQUEST
	binary.LittleEndian.PutUint32(b[8:], seq)
	b[16], b[17] = 3, 1 // CTRL_CMD_GETFAMILY
	binary.LittleEndian.PutUint16(b[20:], uint16(attribute))
	binary.LittleEndian.PutUint16(b[22:], 2) // CTRL_ATTR_FAMILY_NAME
	copy(b[24:], name)
	return b
}

func open(flags int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|flags, 16)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK})
	}
	return fd, err
}

func verdict(b []byte, seq uint32, from syscall.Sockaddr) string {
	sender, ok := from.(*syscall.SockaddrNetlink)
	if !ok || sender.Pid != 0 {
		return fmt.Sprint("from ", from)
	}
	if got := binary.LittleEndian.Uint32(b[8:]); got != seq {
		return fmt.Sprint("answer to ", got)
	}
	if binary.LittleEndian.Uint16(b[4:]) == 2 {
		return syscall.Errno(-int32(binary.LittleEndian.Uint32(b[16:]))).Error()
	}
	return "found"
}

func ask(fd int, seq uint32, name string) string {
	if err := syscall.Sendto(fd, request(seq, name), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return "sendto: " + err.Error()
	}
	b := make([]byte, 65536)
	peeked, _, err := syscall.Recvfrom(fd, b, syscall.MSG_PEEK)
	if err != nil {
		return "peek: " + err.Error()
	}
	n, from, err := syscall.Recvfrom(fd, b, 0)
	if err != nil || n != peeked {
		return fmt.Sprint("recvfrom: ", n, peeked, err)
	}
	return verdict(b, seq, from)
}

// polled reads as Go's own sockets do: the runtime waits by edge-triggered epoll.
func polled() string {
	fd, err := open(syscall.SOCK_NONBLOCK)
	if err != nil {
		return err.Error()
	}
	file := os.NewFile(uintptr(fd), "netlink")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return err.Error()
	}
	if err := file.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err.Error()
	}
	if _, err := file.Read(make([]byte, 100)); !os.IsTimeout(err) {
		return fmt.Sprint("no timeout: ", err)
	}
	file.SetReadDeadline(time.Time{})
	go func() {
		time.Sleep(50 * time.Millisecond)
		file.Write(request(7, "ovs_flow"))
	}()
	result := "nothing"
	err = raw.Read(func(fd uintptr) bool {
		b := make([]byte, 65536)
		_, from, err := syscall.Recvfrom(int(fd), b, 0)
		if err == syscall.EAGAIN {
			return false
		}
		if err != nil {
			result = err.Error()
		} else {
			result = verdict(b, 7, from)
		}
		return true
	})
	if err != nil {
		return err.Error()
	}
	return result
}

func main() {
	fd, err := open(0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, name := range []string{"ovs_datapath", "ovs_flow", "ovs_nosuch"} {
		fmt.Println(name, ask(fd, 1, name))
	}
	fmt.Println("polled", polled())
	// Goroutines that compute: the runtime interrupts their threads by SIGURG all the time.
	stop := time.Now().Add(time.Second)
	for i := 0; i < 2; i++ {
		go func() {
			for {
			}
		}()
	}
	var wait sync.WaitGroup
	var lock sync.Mutex
	total, failed := 0, 0
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for n := uint32(1); time.Now().Before(stop); n++ {
				answer := "no socket"
				if fd, err := open(0); err == nil {
					answer = ask(fd, n, "ovs_flow")
					syscall.Close(fd)
				}
				lock.Lock()
				total++
				if answer != "found" {
					failed++
					fmt.Println(answer)
				}
				lock.Unlock()
			}
		}()
	}
	wait.Wait()
	fmt.Println("many", total > 20, failed)
}
