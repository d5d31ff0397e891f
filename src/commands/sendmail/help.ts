export const USAGE = `sealpost sendmail [options] [--] [recipient...] < message

  -t            recipients from To, Cc and Bcc of the message, besides those named here
  -i, -oi       a line with a dot alone does not end the message
  -f ADDR       envelope sender, '<>' for none; also -r ADDR
  -F NAME       name beside the sender in a From that the message lacks
  -N WHEN       notices: never, or a list of success, failure, delay
  -R full|hdrs  what a notice returns
  -V ID         envelope id, for notices
  -B 7BIT|8BITMIME
  -bm           take a message: the default
  -bs           speak SMTP on standard input and output
  -C FILE       configuration, else SEALPOST_CONFIG, /etc/sealpost/sealpost.yaml; also -c
  -v            say what the relay answered
  -oeq          say nothing: the exit status is enough
  -q            alone it does nothing: the relay runs its queue by itself

Other -o, and -A -G -L -U -h -m -n -p, are passed over. Exit 0: the relay has the message. Exit 64 usage, 65 message, 66 input,
67 recipient, 69 no relay or try again, 70 fault, 77 sender, 78 configuration: nothing was sent. It is never 75.
`;
