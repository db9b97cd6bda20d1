"""HPKE encryption is randomised, so the one ciphertext among the vectors is kept here and not made anew."""

CIPHERTEXT = (
    "z02oMlAcLEKS5nccjge53VyehDNfyVBNOqKwJiVgfOs8v8YNMB8x5PFRgxgOnXd1gkSa8tQvQZKPyB5Te5PcudoC/ktjclkgd6AIz+5vOx5Xhz"
    "ulD66gfX8lCnyDvEDTDe+W/GPGpdAPFIgR7dEa+9EOXdSK8h/E5Y/pmg0aUHBEUmeELIG5h4ftO9oATMK17G0/JHQW4oqo+KrdX1+WHoEXo0uf"
    "UJxLHvbBSW6VCjVoAa0S/XatgZVtru/sGBRc9nLNFIv5sHetCdDjLs8T+EY5ENCZbfToc1sB/RVERXqXRYWheHX41F/Q0CzkdvB2wK/8emKgix"
    "iiTIiLaZaRMY0k7xCTkCG1jfgiMUnixARPopHTyEmeGkIh6NRExw42ytjnhQyP8PvhNdPlWhci34n4CbWLat6D1qmgyC0KWYSBH+uFqXatGPHU"
    "+F4fGoag2nTnBlVuQPG7wnUaIauKKAbFtzRykMaJr1tnV09IssPwwasYxmrH/bJKG5I+pAERRj61fnHDsXQIE783jLnc8r+WW1P2Daye3TODiC"
    "uIjaoBbQ1jO11Rg6JrSSRAhhZQN514sYEM2MxMswRONBOvOc2mQm06tt4K7Y1d9hKFuRjvhw26En4hQGMFR7/bF+0mlRbT/4vXKr44GKn+OX/r"
    "eiGPoFzzeYmr1w+/tWjSzYJnYWnFR2kd9Zsc2seK9DQFmH4peiI9L6Mo6jTUR+Ose6QHBmjjK+8CKjKY0pehvhqNXKQEC9U3mI1IvRGJF8/twX"
    "eu+DQ7kKt+yA4NfuOUy3//q3+0VakI9acLuOxIlKiI6d/IEQHMC+AxrLnd4OrllFWn4vC1rlVf8tAmU8fVVjUdhCOmPB3vm2I2FP9TMSIkvaA0"
    "Vn0AGbSHJm9AzgA8hm0pmEksHZ8b48KEMDJ+T6RlLm76xJ92N3syT8ViY0z/+iYpYo7nUosi/mQv9YimBANnfcsCvCxaFG8SncPc+KbZjvFuPe"
    "cvmA14SWwfFTG8vig5hA6ZfcZgogYbz0tV6e7W+HC+kU2J5R5Dos2IAtSzOeWle/bDk38EF+yYtm9WB8NIV7qdHRtspSA/HGyaTSlCiRL/QjRI"
    "TVpBAzGEMsxf53fmuPKf4lHL95l+rVDra/NADJeDjXa92Zo/bG6+eUd7dq92G9qsIsSFCwpYPtDAwF3ocpsicb0dJoK7FZWu7gKJRsVdY1MrEU"
    "ZECzzklBYYAEuOU/cftIeY00lBHmOQdGIqArBpv3Est9/Ield+kUe0UUzU7H6YUmO1x3hFDbRBznRyVh167LLmmEayCecJYvkp3eT7xyiVlHMJ"
    "qaeEF6siGX+2Rxh4dHvu0NeW5LMpX3tpDHV+h7wTHpXicuH2g6MPUwmyNa2FFxgfgHEigPeYim3EozMCx+ONxWOs6Gm2yXQKGsDcBRp8unjKmw"
    "JhSVsLfxPUgCehzgEPapkv+DQbECbooAwioS4V2Rsu1sJwbu3J49K3nx/gVHkmWr05bxwaJsxEwRs0nqPB+btp9sVJK8why70d6dzXhEeqCSWM"
    "Blsx5A=="
)
