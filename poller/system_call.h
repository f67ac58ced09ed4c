// SystemCall: one call of the kernel, without a wrapper of the C library around it.
//
//   const long n = SystemCall(SYS_recvfrom, fd, data, size, flags, nullptr, nullptr);  // or -errno
//
// glibc prepares its wrappers of calls that may block for pthread_cancel, which costs more than all
// else that a worker does around a small read, and nobody cancels a thread here; its syscall()
// spares that, and still moves seven registers and an errno for nothing. Two dozen instructions a
// call: a twentieth of what a worker does for a request.
//
// Any thread.
#ifndef POLLER_SYSTEM_CALL_H_
#define POLLER_SYSTEM_CALL_H_

#include <errno.h>
#include <unistd.h>

#include <type_traits>

namespace parkway {

namespace system_call {

// As a register holds it.
template <typename T>
inline long Word(T value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}

}  // namespace system_call

#if defined(__x86_64__)

template <typename... Arguments>
inline long SystemCall(long number, Arguments... arguments) {
  static_assert(sizeof...(arguments) <= 6, "the kernel takes six arguments");
  // Those that are not given are passed as zeros, which costs an instruction each at most.
  const long words[6] = {system_call::Word(arguments)...};
  long result = number;
  register long fourth asm("r10") = words[3];
  register long fifth asm("r8") = words[4];
  register long sixth asm("r9") = words[5];
  asm volatile("syscall"
               : "+a"(result)
               : "D"(words[0]), "S"(words[1]), "d"(words[2]), "r"(fourth), "r"(fifth), "r"(sixth)
               : "rcx", "r11", "memory");
  return result;
}

#else

template <typename... Arguments>
inline long SystemCall(long number, Arguments... arguments) {
  const long result = syscall(number, system_call::Word(arguments)...);
  return result < 0 ? -errno : result;
}

#endif

}  // namespace parkway

#endif  // POLLER_SYSTEM_CALL_H_
